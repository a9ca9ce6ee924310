//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lock waits for the lock on f that bbolt takes as well. Both are of one descriptor, so that bbolt has
// it when it asks, and nobody gets in between.
func lock(f *os.File, wait time.Duration) (release func(), err error) {
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() {}, nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, fmt.Errorf("locking: %w", err)
		case time.Since(start) >= wait:
			return nil, fmt.Errorf("%w: no lock within %v", ErrLocked, max(wait, 0))
		}
	}
}

// unlock lets go of the lock on f and closes it. When bbolt panics on a damaged file it leaves the
// file mapped, and while it is mapped, closing it alone keeps the lock.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
