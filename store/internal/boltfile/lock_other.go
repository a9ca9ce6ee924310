//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltfile

import (
	"errors"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Lock keeps other processes from writing to f until release is called: it lets bbolt open the file
// for reading, because here a process that has the lock cannot take it again. It waits at most this
// long; zero or less: not at all. [ErrLocked]: another process has the lock.
func Lock(f *os.File, wait time.Duration) (release func(), err error) {
	var db *bolt.DB
	err = Catch(func() (err error) {
		db, err = bolt.Open(f.Name(), 0, &bolt.Options{Timeout: max(wait, 1), ReadOnly: true, NoStatistics: true})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, locked(wait)
	case err != nil:
		return func() {}, nil // damaged or foreign: pages.Inspect tells which
	}
	return func() { _ = db.Close() }, nil
}

// unlock closes f, which releases the lock.
func unlock(f *os.File) { _ = f.Close() }
