package boltfile

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

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// To open a file and to heal it is one procedure, and it does not trust the memory of the process,
// the page cache or bbolt:
//
//  1. Take the lock, and check that the path names the locked file.
//  2. Inspect the pages before bbolt sees them: on damage bbolt may panic where no recover helps.
//  3. Write both meta pages back as they are, and sync: the newest one may be in the page cache only,
//     after a kill or a failed sync. The pages that it leads to were synced before it was written.
//  4. Sync the directory: the name of the file may not be on disk.
//  5. Check that it is the same file as before, if there was one, and that no transaction is missing.
//
// Only then is anything written. A crash at any point leaves the file as it was, so the next Open
// starts again with step 1. After an error at any step the file stays failed, and nothing is
// written.

// errMoved: the path names another file than the one whose lock was taken, for example because
// another process has compacted it.
var errMoved = errors.New("the path names another file by now")

// openDB opens the database. It tries again while errMoved is the error and LockTimeout has not
// passed. Only Open and the commit goroutine call it.
func (f *File) openDB() error {
	for start := time.Now(); ; {
		err := f.tryOpen(f.lock - time.Since(start))
		if !errors.Is(err, errMoved) || time.Since(start) >= f.lock {
			return err
		}
	}
}

// tryOpen opens the database once. It waits for the lock at most this long.
func (f *File) tryOpen(wait time.Duration) error {
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

// adopt makes db, which was just opened, the database of the file; these are steps 3 to 5. After an
// error db is still the caller's, who closes it.
func (f *File) adopt(db *bolt.DB, raw *os.File) error {
	info, err := raw.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, withoutPath(err))
	}
	if f.info != nil && !os.SameFile(info, f.info) {
		return fmt.Errorf("%w: another file has taken its place while it was in use", ErrDisk)
	}
	if err := errors.Join(rewriteMetas(raw, db.Info().PageSize), SyncDir(filepath.Dir(f.path))); err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
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
		return fmt.Errorf("%w: the last transaction is %d, our last one was %d: an older copy was put in its place while it was in use", pages.ErrCorrupt, last, f.last)
	}
	f.last = last
	// Behind the last page the file may have holes, which take room later: only zeros that this
	// File wrote count.
	f.size = max(min(f.size, info.Size()), f.used.Load())
	f.db, f.raw, f.info = db, raw, info
	f.broken.Store(false)
	f.away.Store(false)
	return nil
}

// openBolt opens the database at path after it has inspected the file under the lock that bbolt
// then keeps; these are steps 1 and 2. With os.O_CREATE in flag the file is new, and is not
// inspected.
//
// Where there is no address space for the usual map, it opens the file with the smallest one.
//
// Commits do not write the freelist; only finish does. With each commit it would cost up to a
// megabyte once a large backlog has been delivered.
func openBolt(path string, flag int, mode os.FileMode, wait time.Duration) (db *bolt.DB, raw *os.File, found pages.Inspection, err error) {
	start := time.Now()
	db, raw, found, err = openMapped(path, flag, mode, wait, mapSize())
	if errors.Is(err, syscall.ENOMEM) {
		// A new file exists by now.
		db, raw, found, err = openMapped(path, flag&^os.O_EXCL, mode, wait-time.Since(start), 0)
	}
	return db, raw, found, err
}

// openMapped is openBolt with a map of at least this size.
func openMapped(path string, flag int, mode os.FileMode, wait time.Duration, mapped int) (db *bolt.DB, raw *os.File, found pages.Inspection, err error) {
	start, release := time.Now(), func() {}
	err = Catch(func() (err error) {
		db, err = bolt.Open(path, mode, &bolt.Options{
			Timeout:         max(wait, 1), // 0 would wait without end
			FreelistType:    bolt.FreelistMapType,
			NoFreelistSync:  true,
			NoSync:          withoutFix == "sync",
			InitialMmapSize: mapped,
			OpenFile: func(name string, _ int, mode os.FileMode) (*os.File, error) {
				if raw, err = os.OpenFile(name, flag, mode); err != nil {
					return nil, withoutPath(err)
				}
				if release, err = Lock(raw, wait-time.Since(start)); err == nil {
					found, err = inspectLocked(raw, flag&os.O_CREATE != 0)
					release()
				}
				return raw, err // after an error bbolt closes it
			},
		})
		return err
	})
	if err != nil && raw != nil {
		unlock(raw) // bbolt has closed it, unless it panicked
	}
	if err == nil {
		// The File extends the file with zeros itself, see room.go. bbolt would leave a hole, which
		// takes room later and may find none.
		db.AllocSize = 0
	}
	return db, raw, found, err
}

// inspectLocked checks that the path of raw names raw, and that bbolt can open the file without
// harm: on a damaged one it may panic in a goroutine of its own, overflow the stack, or never
// return. The lock is held. A fresh file is empty and is not inspected.
func inspectLocked(raw *os.File, fresh bool) (found pages.Inspection, err error) {
	info, err := raw.Stat()
	if err != nil || fresh {
		return found, err
	}
	named, err := os.Stat(raw.Name())
	if err != nil || !os.SameFile(info, named) {
		return found, errors.Join(errMoved, withoutPath(err))
	}
	found, err = pages.Inspect(raw, info.Size())
	return found, asDisk(err)
}

// asDisk makes [pages.ErrRead] an ErrDisk too.
func asDisk(err error) error {
	if errors.Is(err, pages.ErrRead) {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return err
}

// Inspect checks all pages of the file as they are on disk. txid must be its newest transaction:
// call it inside [Lane.Apply], where no commit can come between. [pages.ErrCorrupt] says what is
// damaged; [ErrDisk]: the file cannot be read.
func (f *File) Inspect(txid uint64) error {
	r := f.raw
	if !f.own {
		var err error
		if r, err = os.Open(f.path); err != nil {
			return fmt.Errorf("the pages cannot be looked at: %w", withoutPath(err))
		}
		defer r.Close()
	}
	info, err := r.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	found, err := pages.InspectWhole(r, info.Size())
	if err == nil && found.TxID != txid {
		err = fmt.Errorf("%w: the last transaction is %d, %d expected", pages.ErrCorrupt, found.TxID, txid)
	}
	return asDisk(err)
}

// mapSize returns how much address space, in bytes, bbolt maps at first. It costs no memory. While
// the file is smaller, the map never has to move, for which readers and writers would wait for each
// other. A process whose address space is limited gives a small part of it, because the rest of the
// program needs some too, and a compaction maps two files. On Windows the file itself would grow to
// this size; 0: as little as the file needs.
func mapSize() int {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		return 0
	}
	return int(min(1<<30, addressSpace()/64))
}

// locked returns ErrLocked for a lock that was not given within wait.
func locked(wait time.Duration) error {
	if wait = wait.Round(time.Millisecond); wait > 0 {
		return fmt.Errorf("%w: another process, or this one, has it: no lock within %v", ErrLocked, wait)
	}
	return fmt.Errorf("%w: another process, or this one, has it", ErrLocked)
}

// explain makes an error of openBolt one that callers know. A file that passed the inspection is a
// bbolt database: if bbolt still refuses it, it is damaged.
func (f *File) explain(err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, pages.ErrCorrupt), errors.Is(err, pages.ErrFormat), errors.Is(err, ErrLocked), errors.Is(err, errMoved), errors.As(err, &system):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return locked(f.lock)
	}
	return fmt.Errorf("%w: %w", pages.ErrCorrupt, err)
}

// rewriteMetas writes the two meta pages back as they are, and syncs. After a kill or a failed sync
// the newest one may be in the page cache only, and the kernel may think that it is clean; the next
// commit would build on it.
func rewriteMetas(f *os.File, pageSize int) error {
	if withoutFix == "metas" {
		return nil
	}
	b := make([]byte, 2*pageSize)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return fmt.Errorf("reading the metas: %w", withoutPath(err))
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("rewriting the metas: %w", withoutPath(err))
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing the metas: %w", withoutPath(err))
	}
	return nil
}

// heal closes the database after a failed commit and opens it again, so that nothing is built on
// pages that may not be on disk. Only the commit goroutine calls it. Readers wait until it returns.
// Another process may take the lock in between; then the file stays failed.
//
// While the path does not name the open file it stays open, and nobody reads it: it may be the last
// copy, which an operator can still take from the descriptor.
func (f *File) heal() error {
	if withoutFix == "heal" {
		return f.db.View(func(tx *bolt.Tx) error { f.last = uint64(tx.ID()); return nil })
	}
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.db != nil {
		if err := f.atPath(); err != nil {
			f.away.Store(true)
			return err
		}
		f.release()
	}
	return f.openDB()
}

// release closes the database as it is. f.swap is held for writing.
func (f *File) release() {
	if f.broken.Load() {
		unlock(f.raw) // Close could wait without end for a lock that the panic left held
	} else {
		_ = Catch(f.db.Close) // if the file stays locked, opening it returns ErrLocked
	}
	f.db, f.raw = nil, nil
}

// finish closes the database for good, after the commit goroutine has ended. One last commit writes
// the freelist, which no other commit does: it tells the next Open that the end was clean, so that
// it need not read every page. If the file has failed there is no such commit, and the next Open
// reads every page.
func (f *File) finish() error {
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.db == nil {
		return nil
	}
	if f.broken.Load() {
		f.release()
		return nil
	}
	var err error
	if f.dirty && f.Err() == nil {
		if err = f.atPath(); err == nil {
			f.db.NoFreelistSync = false
			err = Catch(func() error { return f.db.Update(func(*bolt.Tx) error { return nil }) })
		}
	}
	err = errors.Join(err, Catch(f.db.Close))
	f.db, f.raw = nil, nil
	return err
}
