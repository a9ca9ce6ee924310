// Package salvage copies what can be read of a damaged outbox file into a fresh one; see [File].
//
// Every record has a checksum over itself and its bucket key, so a record can be recognized
// wherever it is found. The rest is a question of trust: is a record that was found what the newest
// commit left there, or an old copy of an item that was delivered since? salvage answers from the
// most certain source to the least certain one:
//
//  1. The tree of the newest commit. Its records are saved as they are.
//  2. The tree of the commit before, for the places where the first tree breaks off (holes).
//  3. All pages that no tree led to. A page that the freelist does not have was in use, so its records
//     may be saved; what is uncertain becomes a dead item with a reason (suspicious).
//
// A lane is known by its buckets and by the name that it has itself, with a checksum: see lanes.go.
// The name in the root page alone makes no lane. A tree is known by as many records as the ledger
// counts: see trees.go.
//
// read.go does 1 and 2, leaf.go finds records on a page, orphans.go does 3, foreign.go tells the
// buckets of an application, and write.go writes the fresh file. docs/durability.md says what each
// kind of damage costs; docs/format.md describes the file.
//
// # Caveats
//
// No process may use the file at the same time. There must be room for a second file beside it.
//
// An item that was delivered right before the damage may come back, under the same ID. Suspicious
// items are dead until somebody revives them.
//
// Only lanes are copied. An application's own buckets in the same file are not.
package salvage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// A Report is what [File] made of a damaged file.
type Report struct {
	// Path is the fresh file. Original is the damaged file, unchanged.
	Path, Original string
	// Saved is the number of items that are in the fresh file as they were in the damaged one.
	Saved int
	// Suspicious is the number of further items that the fresh file has among the dead, because it
	// is not known whether they were pending, or are old copies of items that were delivered or
	// changed since. Call store.Store.Revive for those that are missed.
	Suspicious int
	// Lost is the number of items that could not be read, or that the file should have had and that
	// were not found. Bytes that are left of them are among the dead; some may be among the
	// suspicious.
	Lost int
	// LostUnknown means that Lost is only a lower bound: what the newest commit held is not known,
	// as when the file was cut short, or the root page or a ledger cannot be read. False: the
	// ledger of each lane was read, and Lost is what it counts and was not found.
	LostUnknown bool
	// Problems is the damage that was found: the first hundred.
	Problems []error
}

const (
	maxProblems = 100  // in a Report
	maxBatch    = 1024 // records that one transaction writes
)

// File copies what can be read of the damaged file at path into a fresh one at into, which must not
// exist. The tree of the file need not be readable: File looks at all pages, and takes the records
// whose checksums are right. An item keeps its lane, its place and its Seq. When into is empty, or
// is path, the fresh file takes the place of the damaged one, which is renamed to
// path.damaged-<time, UTC>. The damaged file is never changed.
//
// An undamaged file of an outbox comes out as it went in. Of an application's own database
// (store.In) only the lanes come out, so File does not put the fresh file into the place of such a
// database: give it another path as into. Pauses, notes and the ledger's totals are kept if they
// can be read; where a pause of the operator cannot, the lane is paused until Resume. An item that
// was delivered right before the damage may come back.
//
// The errors are store.ErrLocked when another process has the file, which not all systems can tell;
// store.ErrFormat when it is sound and not an outbox, has a newer format, or holds buckets of an
// application whose place the fresh file would take; store.ErrCorrupt when it is damaged and
// nothing of an outbox was found in it; and [sender.ErrStorage] when the damaged file could not be
// read or the fresh one could not be written. After an error nothing has changed. File needs some
// 100 bytes of memory for each item.
//
// A crash leaves the damaged file, and perhaps an incomplete copy, which a call an hour later
// removes. In place, a crash between the two renames leaves the damaged file under both names, or
// where the file system has no links, only as path.damaged-<time>.
func File(path, into string) (Report, error) {
	res, err := salvage(path, into)
	if err != nil {
		if errors.Is(err, pages.ErrRead) {
			err = fmt.Errorf("%w: %w", sender.ErrStorage, err)
		}
		return Report{}, fmt.Errorf("salvage: %s: %w", path, err)
	}
	return res, nil
}

// salvage is File without the prefix of its errors.
func salvage(path, into string) (res Report, err error) {
	real, err := boltfile.ResolvePath(path)
	if err != nil {
		return res, err
	}
	from, err := os.Open(real)
	if err != nil {
		return res, err
	}
	defer from.Close()
	release, err := boltfile.Lock(from, 0)
	if errors.Is(err, boltfile.ErrLocked) {
		return res, fmt.Errorf("%w: salvage needs a file that no program has open", boltfile.ErrLocked)
	}
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
	w, err := newWriter(into, info.Mode().Perm())
	if err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	defer w.discard()
	s := &salvager{Pager: pages.Pager{R: from, Size: info.Size()}, out: w}
	if err := s.run(); err != nil {
		return res, err
	}
	if inPlace && len(s.foreign) > 0 {
		return res, fmt.Errorf("%w: it is a database of an application with the buckets %.100q, which the fresh file would not have: give it another path", pages.ErrFormat, s.foreign)
	}
	if err := w.finish(); err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	res = Report{Path: into, Original: real, Saved: w.saved, Suspicious: w.suspicious, Lost: w.lost, LostUnknown: w.lostUnknown, Problems: s.problems}
	if inPlace {
		res.Original = real + ".damaged-" + time.Now().UTC().Format("20060102T150405.000000000Z")
		if err := setAside(real, res.Original); err != nil {
			return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
		}
		err = os.Rename(w.tmp, into)
	} else if err = os.Link(w.tmp, into); err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(w.tmp, into) // this file system has no links
	}
	if err == nil {
		err = boltfile.SyncDir(filepath.Dir(into))
	}
	if err != nil {
		return res, fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	return res, nil
}

// setAside gives the file at path a second name, so that another file can take the first one
// without a moment in which nothing has it. Where the file system has no links, it renames the
// file.
func setAside(path, to string) error {
	if err := os.Link(path, to); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(path, to)
}
