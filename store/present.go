package store

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// lookEvery bounds how long the kernel's word is taken for what the path names: another machine may have
// changed a directory that is shared with it, and something may have been mounted over the path.
const lookEvery = time.Second

// present reports whether the path still names the file that is open. A file that was unlinked takes
// every write, and keeps none.
func (f *file) present() error {
	now := f.now()
	if now.Sub(f.looked) < lookEvery && isAt(f.raw, f.path) {
		return nil
	}
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %s is gone while it is in use: %w", sender.ErrStorage, f.path, err)
	case !os.SameFile(info, f.info):
		return fmt.Errorf("%w: another file has taken the place of %s while it is in use", sender.ErrStorage, f.path)
	}
	f.looked = now
	return nil
}

// whole reports whether the file is as long as it must be. bbolt would read past its end, and may do so
// with its locks held.
func (f *file) whole() error {
	if !f.own {
		return nil
	}
	used := f.used.Load()               // first: the file may grow meanwhile
	n, err := f.raw.Seek(0, io.SeekEnd) // Stat would ask for the times, see isAt; nobody uses the offset
	if err != nil {
		return fmt.Errorf("%w: %s: %w", sender.ErrStorage, f.path, err)
	}
	if n < used {
		return fmt.Errorf("%w: %s has %d bytes, %d expected: somebody made it shorter while it was in use", ErrCorrupt, f.path, n, used)
	}
	return nil
}
