package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// Salvaged is what [Salvage] made of a damaged file.
type Salvaged struct {
	// Path is the fresh file, Original the damaged one, as it was.
	Path, Original string
	// Saved is how many items lie in the fresh file as they lay in the damaged one.
	Saved int
	// Suspicious is how many more lie there among the dead, since nothing tells whether they were
	// pending, or are old copies of what has been delivered or changed since. [Store.Revive] those
	// that are missed.
	Suspicious int
	// Lost is how many items could not be read, or should have been there and were not found. Of
	// those that left some bytes, these are among the dead; some may be among the suspicious.
	Lost int
	// Problems is what was found to be damaged, the first hundred.
	Problems []error
}

// maxProblems bounds Salvaged.Problems.
const maxProblems = 100

// Salvage copies what can be read of the damaged file at path into a fresh one at into, which must not
// exist. It needs no sound tree: it goes through all pages, and takes the records whose checksums hold.
// An item keeps its lane, its place and its Seq. When into is empty, or is path, the fresh file takes
// the place of the damaged one, which is renamed to path.damaged-<time, UTC>; it is never changed.
//
// A sound file comes out as it went in. Pauses, notes and what the ledger says of the past are kept if
// they can be read. An item may come back that was delivered right before the damage.
//
// ErrLocked: somebody has the file; not all systems can tell. ErrFormat: there is no outbox in it, or
// one of a newer format. sender.ErrStorage: the fresh file could not be written. After any error nothing has
// changed. It needs memory of some 100 bytes for each item.
func Salvage(path, into string) (Salvaged, error) {
	res, err := salvage(path, into)
	if err != nil {
		return Salvaged{}, fmt.Errorf("store: salvage %s: %w", path, err)
	}
	return res, nil
}

func salvage(path, into string) (res Salvaged, err error) {
	real, err := settlePath(path)
	if err != nil {
		return res, err
	}
	from, err := os.Open(real)
	if err != nil {
		return res, err
	}
	defer from.Close()
	release, err := lock(from, 0)
	if err != nil {
		return res, err
	}
	defer release()
	info, err := from.Stat()
	if err != nil {
		return res, err
	}
	inPlace := into == "" || into == path || into == real
	if inPlace {
		into = real
	} else if _, err := os.Lstat(into); !errors.Is(err, fs.ErrNotExist) {
		return res, fmt.Errorf("%s: %w", into, fs.ErrExist)
	}
	w, err := newSalvageWriter(into, info.Mode().Perm())
	if err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	defer w.discard()
	s := &salvager{Pager: pages.Pager{R: from, Size: info.Size()}, out: w}
	if err := s.run(); err != nil {
		return res, err
	}
	if err := w.finish(); err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	res = Salvaged{Path: into, Original: real, Saved: w.saved, Suspicious: w.suspicious, Lost: w.lost, Problems: s.problems}
	if inPlace {
		res.Original = real + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000Z")
		if err := setAside(real, res.Original); err != nil {
			return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
		}
		err = os.Rename(w.tmp, into)
	} else if err = os.Link(w.tmp, into); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(w.tmp, into) // a file system without links
	}
	if err == nil {
		err = syncDir(filepath.Dir(into))
	}
	if err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	return res, nil
}

// setAside gives a file a second name, so that the first can be given to another without a moment in
// which there is none; where files have one name only, it renames it.
func setAside(path, to string) error {
	if err := os.Link(path, to); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(path, to)
}
