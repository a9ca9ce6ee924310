package boltfile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// A file that was removed, replaced or cut short while it is open still takes every write, or makes
// bbolt fault. The File therefore looks at its path and its length before and after each commit,
// and before each read at its length. What is acknowledged after such a change would be gone with
// the next restart; instead the commit fails, and the file heals once the path names it again.

// statEvery bounds how long isAt alone is trusted. It does not notice that another machine changed
// a shared directory, or that something was mounted over the path.
const statEvery = time.Second

// atPath returns ErrDisk if the path does not name the open file. Only the commit goroutine calls
// it, and Close after that goroutine has ended.
func (f *File) atPath() error {
	now := f.now()
	if now.Sub(f.statAt) < statEvery && isAt(f.raw, f.path) {
		return nil
	}
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: the file is gone while it is in use: %w", ErrDisk, withoutPath(err))
	case !os.SameFile(info, f.info):
		return fmt.Errorf("%w: another file has taken its place while it is in use", ErrDisk)
	}
	f.statAt = now
	return nil
}

// notTruncated returns [pages.ErrCorrupt] if the file is shorter than what bbolt uses of it. bbolt
// would touch memory behind its end, perhaps with its locks held. Safe for concurrent use, with
// f.swap held or on the commit goroutine. It does not look at an application's database.
func (f *File) notTruncated() error {
	if !f.own {
		return nil
	}
	used := f.used.Load()               // before the length is read: the file may grow in between
	n, err := f.raw.Seek(0, io.SeekEnd) // not Stat, see isAt; the offset is not used
	if err != nil {
		return fmt.Errorf("%w: reading the length of the file: %w", ErrDisk, withoutPath(err))
	}
	f.length.Store(n)
	if n < used {
		return fmt.Errorf("%w: the file has %d bytes, %d expected: it was made shorter while it was in use", pages.ErrCorrupt, n, used)
	}
	return nil
}

// withoutPath takes the path out of an error of package os about the file itself: callers add the
// path.
func withoutPath(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	case *os.LinkError:
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
