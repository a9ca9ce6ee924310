package boltfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// shared holds one File for each application's database that has lanes in it, so that the lanes
// share commits, and no lane is opened twice. A File is in it from its first lane until its last
// one has left. The mutex is taken before the mutex of a File.
var shared = struct {
	sync.Mutex
	files map[*bolt.DB]*File // guarded by the mutex
}{files: make(map[*bolt.DB]*File)}

// EnterShared adds a lane to the File of the application's own database db, and returns the File.
// The first lane makes the File; [File.Leave] of the last one ends it. A lane that has entered
// under this name before is [ErrLocked].
func EnterShared(db *bolt.DB, name string, lane Lane) (*File, error) {
	shared.Lock()
	defer shared.Unlock()
	if f := shared.files[db]; f != nil {
		if err := f.Enter(name, lane); err != ErrClosed {
			return f, err
		}
	}
	path, err := filepath.Abs(db.Path()) // the process may change its directory later
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the path of the database does not name a file: %w", withoutPath(err))
	}
	f := newFile(path, time.Now)
	f.db, f.info = db, info
	shared.files[db] = f
	return f, f.Enter(name, lane)
}

// A witness is the last transaction of a shared File that a lane took part in. The next one asks it
// how it ended, because nobody tells a lane that a commit of the application has failed.
type witness struct {
	tx        *bolt.Tx
	id        uint64
	confirmed atomic.Bool // its OnCommit handlers run: the commit is on disk
}

// lost reports whether the commit failed although the newest transaction of the file contains it:
// its meta page was written and could not be synced. A transaction after it holds the lock of the
// database, so this one has ended. bbolt counts WriteTime only when the meta page is synced, and
// before it lets go of the lock; the handlers may run later.
func (w *witness) lost(newest uint64) bool {
	if w.confirmed.Load() || newest < w.id {
		return false
	}
	stats := w.tx.Stats()
	return stats.GetWrite() > 0 && stats.GetWriteTime() == 0
}

// Join tells a shared File that a lane takes part in tx, which may write and has not yet changed
// the lane. [ErrDisk]: nothing may be stored in tx, because a commit of this handle failed, or the
// file is not at its path. The File then heals as soon as tx has ended. The goroutine that began tx
// calls Join, before tx ends.
func (f *File) Join(tx *bolt.Tx) error {
	if f.witness != nil && f.witness.tx == tx {
		return f.Err()
	}
	err := f.Err()
	if w := f.witness; err == nil && w != nil && w.lost(uint64(tx.ID())-1) {
		err = f.noteFailure(fmt.Errorf("%w: the commit of transaction %d failed, and may not be on disk", ErrDisk, w.id))
	}
	if err != nil {
		f.askToHeal()
		return err
	}
	if err := f.atPath(); err != nil {
		return err
	}
	w := &witness{tx: tx, id: uint64(tx.ID())}
	f.witness = w
	tx.OnCommit(func() { w.confirmed.Store(true) })
	return nil
}

// askToHeal has the commit goroutine heal the file, without a write that waits.
func (f *File) askToHeal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.healAsked = true
	f.start()
}

// HealShared writes the two meta pages of the application's database back and syncs them, and then
// lets its lanes go on. It waits for the transaction that writes.
func HealShared(db *bolt.DB) error {
	shared.Lock()
	f := shared.files[db]
	shared.Unlock()
	if err := healing(db, func(uint64) error {
		if f != nil {
			f.witness = nil
		}
		return nil
	}); err != nil {
		return err
	}
	if f == nil || f.Err() == nil {
		return nil
	}
	f.mu.Lock()
	f.healAt = time.Time{}
	f.mu.Unlock()
	for _, lane := range f.Lanes() {
		if err := f.Do(context.Background(), &Write{Lane: lane}, 0); !errors.Is(err, ErrClosed) {
			return err
		}
	}
	return nil
}

// healShared is heal for the application's database, which stays open: its last commit may be in
// the page cache only, see rewriteMetas. reload is called before another transaction can begin.
func (f *File) healShared(reload func() error) error {
	if f.broken.Load() {
		return fmt.Errorf("bbolt panicked: the database must be opened again: %w", f.Err())
	}
	return healing(f.db, func(last uint64) error {
		if err := f.atPath(); err != nil {
			return err
		}
		f.witness, f.last = nil, last
		return reload()
	})
}

// healing writes the meta pages of db back and syncs them, and calls then. No transaction writes
// while it runs. last is the newest transaction.
func healing(db *bolt.DB, then func(last uint64) error) error {
	return Catch(func() (err error) {
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, tx.Rollback()) }()
		file, err := os.OpenFile(db.Path(), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, withoutPath(err))
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, withoutPath(err))
		}
		metas, _, err := pages.ReadMetas(file, info.Size())
		if err != nil {
			return err
		}
		last := uint64(tx.ID()) - 1
		if on := max(metas[0].TxID, metas[1].TxID); on != last {
			return fmt.Errorf("%w: the path names another file: its last transaction is %d, %d expected", ErrDisk, on, last)
		}
		if err := rewriteMetas(file, db.Info().PageSize); err != nil {
			return fmt.Errorf("%w: %w", ErrDisk, err)
		}
		return then(last)
	})
}

// forget removes a File whose last lane has left.
func forget(f *File) {
	shared.Lock()
	defer shared.Unlock()
	if shared.files[f.db] == f {
		delete(shared.files, f.db)
	}
}
