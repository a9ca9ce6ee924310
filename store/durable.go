package store

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// errMoved: the lock is that of a file which the path names no longer.
var errMoved = errors.New("the path names another file by now")

// openDB opens the database and heals it before anything is written to it.
func (f *file) openDB() error {
	for start := time.Now(); ; {
		err := f.tryOpen(f.lock - time.Since(start))
		if !errors.Is(err, errMoved) || time.Since(start) >= f.lock {
			return err
		}
	}
}

func (f *file) tryOpen(wait time.Duration) error {
	db, raw, found, err := openBolt(f.path, os.O_RDWR, 0, wait)
	if err != nil {
		return f.explain(err)
	}
	if err := f.adopt(db, raw); err != nil {
		return errors.Join(err, db.Close())
	}
	f.dirty = !found.Clean
	if found.Fallback != nil {
		f.mu.Lock()
		f.fallback = found.Fallback
		f.mu.Unlock()
	}
	return nil
}

// adopt makes db the database of the file, once it is certain that what it rests on is on disk.
func (f *file) adopt(db *bolt.DB, raw *os.File) error {
	info, err := raw.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	if f.info != nil && !os.SameFile(info, f.info) {
		return fmt.Errorf("%w: another file has taken the place of %s while it was in use", sender.ErrStorage, f.path)
	}
	if err := errors.Join(rewriteMetas(raw, db.Info().PageSize), syncDir(filepath.Dir(f.path))); err != nil {
		return fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	var last uint64
	if err := db.View(func(tx *bolt.Tx) error {
		last = uint64(tx.ID())
		f.used.Store(tx.Size())
		return nil
	}); err != nil {
		return err
	}
	if last < f.last {
		return fmt.Errorf("%w: transaction %d is the last in %s, and %d was ours: somebody put an older copy in its place while it was in use", ErrCorrupt, last, f.path, f.last)
	}
	f.last = last
	// What lies behind the last page may be a hole, and find no room: only what was written here counts.
	f.size = max(min(f.size, info.Size()), f.used.Load())
	f.db, f.raw, f.info = db, raw, info
	f.broken.Store(false)
	return nil
}

// openBolt opens the database at path, after it has been looked at under the lock that bbolt then keeps.
// The free pages are written down by Close alone: with each commit they would cost up to a megabyte
// once a large backlog has been delivered.
func openBolt(path string, flag int, mode os.FileMode, wait time.Duration) (db *bolt.DB, raw *os.File, found pages.Inspection, err error) {
	start, release := time.Now(), func() {}
	err = guard(func() (err error) {
		db, err = bolt.Open(path, mode, &bolt.Options{
			Timeout:         max(wait, 1), // zero would wait for ever
			FreelistType:    bolt.FreelistMapType,
			NoFreelistSync:  true,
			NoSync:          uncured == "sync",
			InitialMmapSize: mapSize,
			OpenFile: func(name string, _ int, mode os.FileMode) (*os.File, error) {
				if raw, err = os.OpenFile(name, flag, mode); err != nil {
					return nil, err
				}
				if release, err = lock(raw, wait-time.Since(start)); err == nil {
					found, err = look(raw, flag&os.O_CREATE != 0)
					release()
				}
				return raw, err // bbolt closes it when there is an error
			},
		})
		return err
	})
	if err != nil && raw != nil {
		unlock(raw) // bbolt has done so, unless it panicked
	}
	if err == nil {
		// What it is ahead of is written by us, see ahead; a hole would be no room on a full disk.
		db.AllocSize = 0
	}
	return db, raw, found, err
}

// look finds out whether bbolt can open a file without harm: on a damaged one it may panic in a
// goroutine of its own, overflow the stack, or never return.
func look(raw *os.File, fresh bool) (found pages.Inspection, err error) {
	info, err := raw.Stat()
	if err != nil || fresh {
		return found, err
	}
	named, err := os.Stat(raw.Name())
	if err != nil || !os.SameFile(info, named) {
		return found, errors.Join(errMoved, err)
	}
	found, err = pages.Inspect(raw, info.Size())
	if errors.Is(err, pages.ErrRead) {
		err = fmt.Errorf("%w: %w", sender.ErrStorage, err)
	}
	return found, err
}

// mapSize is address space, not memory: below it the map never has to move, which would make readers
// and writers wait for each other. On Windows the file itself would grow to it.
var mapSize = func() int {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		return 0
	}
	return 1 << 30
}()

// explain gives the errors of opening the names that callers branch on. What inspect has passed is a bbolt
// file: if bbolt refuses it, it is damaged.
func (f *file) explain(err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrFormat), errors.Is(err, ErrLocked), errors.Is(err, errMoved), errors.As(err, &system):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: no lock within %v", ErrLocked, max(f.lock, 0))
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// rewriteMetas writes the two meta pages back as they are and syncs. The newest may be in the page
// cache alone, after a kill or a failed sync, and what we write next would build on it; the pages it
// points to were synced before it was written.
func rewriteMetas(f *os.File, pageSize int) error {
	if uncured == "metas" {
		return nil
	}
	b := make([]byte, 2*pageSize)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("reading the metas: %w", err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("rewriting the metas: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing the metas: %w", err)
	}
	return nil
}

// heal closes the database after a failed commit and opens it anew, so that nothing is built on pages
// that may not be on disk. Only the commit goroutine calls it. Another process can take the lock
// meanwhile; then the file stays failed.
func (f *file) heal() error {
	if uncured == "heal" {
		return f.db.View(func(tx *bolt.Tx) error { f.last = uint64(tx.ID()); return nil })
	}
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.db != nil {
		f.drop()
	}
	return f.openDB()
}

// drop lets go of the database as it is. f.swap is held.
func (f *file) drop() {
	if f.broken.Load() {
		unlock(f.raw) // Close could wait for ever for a lock that the panic left behind
	} else {
		_ = guard(f.db.Close) // if that leaves the file locked, opening it will say so
	}
	f.db, f.raw = nil, nil
}

// finish ends the use of the file. The list of free pages, which no other commit writes, tells the next
// Open that it need not look at every page.
func (f *file) finish() error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.db == nil {
		return nil
	}
	if f.broken.Load() {
		f.drop()
		return nil
	}
	var err error
	if f.dirty && f.failure() == nil {
		if err = f.present(); err == nil {
			f.db.NoFreelistSync = false
			err = guard(func() error { return f.db.Update(func(*bolt.Tx) error { return nil }) })
		}
	}
	err = errors.Join(err, guard(f.db.Close))
	f.db, f.raw = nil, nil
	return err
}
