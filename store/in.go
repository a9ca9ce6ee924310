package store

import (
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// In opens a lane in the application's own database, in the top-level bucket with this name. It
// creates the bucket if there is none. nil options mean the defaults.
//
// The application opens, heals and closes the database. It closes the lane before the database.
// While it holds a write transaction, the lane waits, so In must not be called inside a
// transaction.
//
// After a failed commit of its own, a lane writes both meta pages of the database back, syncs them,
// and goes on; until that succeeds it returns sender.ErrStorage. After a failed commit of the
// application, the application must call [Heal] before it begins its next transaction. bbolt would
// build that on a meta page that may not be on disk, and a crash could then damage the file. A lane
// is not told of that failure, but notices it if [Store.AppendTx] was called in the transaction:
// it then stores nothing more until it has healed. It also stores nothing while the file is not at
// its path.
//
// A database with NoSync or NoGrowSync is refused, because it can lose what a commit has stored.
// [ErrLocked]: the lane is open already. [ErrFormat] and [ErrCorrupt]: the bucket is not usable.
func In(db *bolt.DB, bucket string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	switch {
	case err != nil:
		return nil, err
	case db == nil:
		return nil, errors.New("store: the database is nil")
	case len(bucket) == 0 || len(bucket) > format.MaxLaneName:
		return nil, fmt.Errorf("store: bucket name of %d bytes, 1 to %d", len(bucket), format.MaxLaneName)
	case db.NoSync || db.NoGrowSync:
		return nil, fmt.Errorf("store: %s is open with NoSync %t and NoGrowSync %t: nothing put into it would be safe", db.Path(), db.NoSync, db.NoGrowSync)
	case db.IsReadOnly():
		return nil, fmt.Errorf("store: %s is open for reading only", db.Path())
	}
	s := makeStore(bucket, opts, newClock(time.Now))
	if s.file, err = boltfile.EnterShared(db, bucket, (*lane)(s)); err == nil {
		if err = s.load(true); err != nil {
			s.file.Leave(bucket)
		}
	}
	if err != nil {
		return nil, &sender.StoreError{Op: "store: in", Place: fmt.Sprintf("lane %q of %s", bucket, db.Path()), Err: naming(err)}
	}
	return s, nil
}

// Heal makes the application's own database safe to use after its [bolt.DB.Update] or
// [bolt.Tx.Commit] has failed: it writes both meta pages back as they are and syncs them, because
// the newest one may be in the page cache only. Call it before the next transaction. Lanes that
// [In] opened in db go on when it has returned nil. After an error, repeat it, or close db and open
// it again.
//
// It waits for the transaction that writes, so it must not be called inside one. It may be called
// at any time, also without a lane. sender.ErrStorage: the path of db names another file, or none,
// or the disk fails.
func Heal(db *bolt.DB) error {
	if db == nil {
		return errors.New("store: the database is nil")
	}
	if err := boltfile.HealShared(db); err != nil {
		return &sender.StoreError{Op: "store: heal", Place: db.Path(), Err: naming(err)}
	}
	return nil
}
