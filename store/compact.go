package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// When the file is compacted by itself: it is large, little of it is in use, and that is copied in some
// ten milliseconds.
const (
	compactFrom  = 32 << 20 // bytes of the file, at least
	compactUpTo  = 4 << 20  // bytes of it in use, at most
	compactAgain = time.Minute
)

// Compact makes the file as small as what is in it, for all its lanes. That happens by itself when a
// large backlog has been delivered. It takes the place of a commit: what is put meanwhile waits, about
// two seconds for a million items; what is read does not. It needs room for the copy: on a full disk
// it is an error, as it is when the disk fails, and the file stays as it is. A lane in an application's
// database ([In]), and a file on Windows, which replaces no open file, are errors.ErrUnsupported.
func (s *Store) Compact(ctx context.Context) error {
	if !s.file.mayCompact() {
		return fmt.Errorf("store: compact %s: %w", s.file.path, errors.ErrUnsupported)
	}
	return wrap("compact", s.file.do(ctx, &write{lane: s, compact: true}, 0))
}

func (f *file) mayCompact() bool { return f.own && runtime.GOOS != "windows" }

// slack reports whether it is time to compact. f.mu is held; only the commit goroutine calls it.
func (f *file) slack() bool {
	if !f.mayCompact() || f.closing || f.failed != nil || f.size < compactFrom || !f.fullAt.IsZero() || f.now().Before(f.shrunk.Add(compactAgain)) {
		return false
	}
	st := f.db.Stats()
	free := int64(st.FreePageN+st.PendingPageN) * int64(f.db.Info().PageSize)
	return f.used.Load()-free <= compactUpTo
}

// shrink copies what is in the file to a new one, which takes its place. The new one is locked from its
// first moment, on disk before it gets the name, and is the one that is used from then on. Whoever waits
// for the lock of the old one finds that the path names another.
func (f *file) shrink() error {
	tmp := f.path + compacting + rand.Text()
	db, raw, err := f.copyTo(tmp)
	if err == nil {
		err = os.Rename(tmp, f.path)
	}
	if err != nil {
		f.shrunk = f.now()
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		_ = os.Remove(tmp) // what is left of it, the next Open removes
		return err
	}
	if err := f.exchange(db, raw); err != nil {
		// Which of the two the name will lead to after a power cut is not certain: nothing may be
		// written to either before it is.
		f.fail(nil, 0, err)
		return err
	}
	return nil
}

// copyTo makes a compact copy of the database in a new file and syncs it, but not its name.
func (f *file) copyTo(path string) (db *bolt.DB, raw *os.File, err error) {
	db, raw, _, err = openBolt(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, f.info.Mode().Perm(), 0)
	if err != nil {
		return nil, nil, err
	}
	db.NoSync, db.NoGrowSync = true, true
	err = guard(func() error { return bolt.Compact(db, f.db, 16<<20) })
	db.NoSync, db.NoGrowSync = uncured == "sync", false
	err = errors.Join(err, raw.Chmod(f.info.Mode().Perm()))
	if uncured != "compactsync" {
		err = errors.Join(err, raw.Sync())
	}
	return db, raw, err
}

// exchange goes on with a copy that has the name.
func (f *file) exchange(db *bolt.DB, raw *os.File) error {
	if err := f.replace(db, raw); err != nil {
		return err
	}
	f.dirty = true
	for _, lane := range f.laneList() {
		lane.mu.Lock()
		lane.txid = f.last // they begin anew
		lane.mu.Unlock()
	}
	return nil
}

func (f *file) replace(db *bolt.DB, raw *os.File) error {
	info, err := raw.Stat()
	if err == nil {
		err = syncDir(filepath.Dir(f.path))
	}
	f.swap.Lock()
	defer f.swap.Unlock()
	f.drop()
	f.info, f.last, f.size = info, 0, 0
	if err == nil {
		err = f.adopt(db, raw)
	}
	if err != nil {
		// Known before readers find no database: they would take the file for closed.
		return f.fails(fmt.Errorf("%w: compacting %s: %w", sender.ErrStorage, f.path, errors.Join(err, db.Close())))
	}
	return nil
}
