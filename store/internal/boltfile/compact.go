package boltfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Compaction copies what is in use to a new file and renames that to the path.
//
//   - It runs on the commit goroutine, between two commits. So no commit waits longer than the copy
//     takes.
//   - The copy is locked from its first moment. Another process that waits for the lock of the old
//     file finds, once it gets it, that the path names another file.
//   - The copy is synced before it gets the name.
//
//   - The copy has the owner and the mode that the old file has at that moment.
//
// A crash before the rename leaves the old file and a leftover, which the next Open removes. A
// crash after the rename and before the directory is synced leaves the old or the new file at the
// path. Both hold the same items, because nothing is written to either until the directory is
// synced.

// The file is compacted without being asked when it is large and little of it is in use. A copy of
// that little takes some ten milliseconds.
const (
	compactFrom  = 32 << 20    // bytes that the file has, at least
	compactUpTo  = 4 << 20     // bytes of it that are in use, at most
	compactAgain = time.Minute // after a failed compaction, until the next one
)

// CanCompact reports whether the file can be compacted: not an application's database, and not on
// Windows, where an open file cannot be replaced.
func (f *File) CanCompact() bool { return f.own && runtime.GOOS != "windows" }

// shouldCompact reports whether it is time to compact. Only the commit goroutine calls it, with
// f.mu held.
func (f *File) shouldCompact() bool {
	if !f.CanCompact() || f.closing || f.failed != nil || f.size < compactFrom {
		return false
	}
	if f.cannotCompact || !f.fullAt.IsZero() || f.now().Before(f.compactFailedAt.Add(compactAgain)) {
		return false
	}
	st := f.db.Stats()
	free := int64(st.FreePageN+st.PendingPageN) * int64(f.db.Info().PageSize)
	return f.used.Load()-free <= compactUpTo
}

// compact replaces the file by a compact copy, which is in use from then on. After an error the
// file is as it was, or has failed and heals. [errors.ErrUnsupported]: it cannot be replaced where
// it is, and is not tried again without being asked.
func (f *File) compact() error {
	tmp := tempPrefix(f.path, compacting) + rand.Text()
	db, raw, err := f.copyTo(tmp)
	if err == nil {
		err = withoutPath(os.Rename(tmp, f.path))
	}
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("it is mounted by itself: %w", err)
	}
	if err != nil {
		f.compactFailedAt = f.now()
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		_ = os.Remove(tmp) // if that fails, the next Open removes it
		if f.cannotCompact = isStuck(err); f.cannotCompact {
			return fmt.Errorf("%w here: the file cannot be replaced by a smaller one: %w", errors.ErrUnsupported, err)
		}
		return err
	}
	f.cannotCompact = false
	if err := f.swapIn(db, raw); err != nil {
		// It is not certain which of the two files the path names after a power cut. Nothing may be
		// written to either before it is certain, so the file has failed until it heals.
		f.fail(nil, 0, err)
		return err
	}
	return nil
}

// isStuck reports whether a compaction failed because of where the file is, so that the next one
// would fail too: its directory cannot be written to, the file is mounted by itself, or its owner
// cannot be given to another file.
func isStuck(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV)
}

// copyTo makes a compact copy of the database in a new file, and syncs the file but not its name.
// The copy stays open and locked, also after most errors: then db is not nil, and the caller closes
// it.
func (f *File) copyTo(path string) (db *bolt.DB, raw *os.File, err error) {
	info, err := f.raw.Stat()
	if err != nil {
		return nil, nil, err
	}
	db, raw, _, err = openBolt(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a file in its directory: %w", err)
	}
	const all = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if err := errors.Join(giveOwner(raw, info), raw.Chmod(info.Mode()&all)); err != nil {
		return db, raw, err
	}
	db.NoSync, db.NoGrowSync = true, true
	err = Catch(func() error { return bolt.Compact(db, f.db, 16<<20) })
	db.NoSync, db.NoGrowSync = withoutFix == "sync", false
	if withoutFix != "compactsync" {
		err = errors.Join(err, raw.Sync())
	}
	return db, raw, err
}

// swapIn makes a copy that has the path the database of the file. After an error it has closed
// both.
func (f *File) swapIn(db *bolt.DB, raw *os.File) error {
	info, err := raw.Stat()
	if err == nil {
		err = SyncDir(filepath.Dir(f.path))
	}
	f.swap.Lock()
	defer f.swap.Unlock()
	f.release()
	f.info, f.last, f.size = info, 0, 0
	if err == nil {
		err = f.adopt(db, raw)
	}
	if err != nil {
		// Noted before readers find no database: they would take the file for closed.
		return f.noteFailure(fmt.Errorf("%w: compacting: %w", ErrDisk, errors.Join(err, db.Close())))
	}
	f.dirty = true
	return nil
}
