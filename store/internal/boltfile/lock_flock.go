//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package boltfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Lock takes the lock on f that bbolt takes too, and waits for it at most this long; zero or less:
// not at all. [ErrLocked]: another process has it. bbolt then opens f with the same descriptor and
// so has the lock already: no other process can take it in between. So release does nothing;
// closing f unlocks it.
func Lock(f *os.File, wait time.Duration) (release func(), err error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() {}, nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, fmt.Errorf("locking: %w", err)
		case time.Since(start) >= wait:
			return nil, locked(wait)
		}
	}
}

// unlock releases the lock on f and closes f. When bbolt panics on a damaged file it leaves the
// file mapped, and while a file is mapped, closing it does not release the lock.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
