//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// lock keeps others from writing to f until release, by having bbolt open it for reading: here a
// process that has the lock cannot get it again.
func lock(f *os.File, wait time.Duration) (release func(), err error) {
	var db *bolt.DB
	err = guard(func() (err error) {
		db, err = bolt.Open(f.Name(), 0, &bolt.Options{Timeout: max(wait, 1), ReadOnly: true, NoStatistics: true})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%w: no lock within %v", ErrLocked, max(wait, 0))
	case err != nil:
		return func() {}, nil // it is damaged, or not ours: inspect says which
	}
	return func() { _ = db.Close() }, nil
}

// unlock closes f, and with it goes the lock.
func unlock(f *os.File) { _ = f.Close() }
