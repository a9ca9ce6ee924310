//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"os"
	"syscall"
)

// unlock lets go of the lock on f and closes it. When bolt.Open panics on a damaged file it leaves the
// file mapped, and while it is mapped, closing it alone keeps the lock.
func unlock(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}
