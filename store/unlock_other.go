//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import "os"

// unlock closes f, and with it goes the lock.
func unlock(f *os.File) { _ = f.Close() }
