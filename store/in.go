package store

import (
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// shared holds the databases of applications that have lanes in them, so that those lanes share
// commits and no bucket is opened twice.
var shared = struct {
	sync.Mutex
	files map[*bolt.DB]*file
}{files: make(map[*bolt.DB]*file)}

// In opens a lane in the application's own database, in the top-level bucket of that name, which is
// created when there is none. The database's options, its healing and its closing stay with the
// application, which closes the lane first; a database with NoSync or NoGrowSync is refused, since
// nothing put into it would be safe. A transaction that the application holds makes the lane wait.
// After a failed commit the lane stays failed (sender.ErrStorage) until database and lane are opened anew.
// In must not be called from inside a transaction.
func In(db *bolt.DB, bucket string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	switch {
	case err != nil:
		return nil, err
	case db == nil:
		return nil, errors.New("store: the database is nil")
	case len(bucket) == 0 || len(bucket) > maxLaneName:
		return nil, fmt.Errorf("store: bucket name of %d bytes, 1 to %d", len(bucket), maxLaneName)
	case db.NoSync || db.NoGrowSync:
		return nil, fmt.Errorf("store: %s is open with NoSync %t and NoGrowSync %t: nothing put into it would be safe", db.Path(), db.NoSync, db.NoGrowSync)
	case db.IsReadOnly():
		return nil, fmt.Errorf("store: %s is open for reading only", db.Path())
	}
	f, s, err := reserveIn(db, bucket, opts)
	if err == nil {
		err = f.load(s, true)
	}
	if err != nil {
		return nil, fmt.Errorf("store: bucket %q in %s: %w", bucket, db.Path(), err)
	}
	return s, nil
}

func reserveIn(db *bolt.DB, bucket string, opts Options) (*file, *Store, error) {
	shared.Lock()
	defer shared.Unlock()
	f := shared.files[db]
	if f != nil {
		if s, err := f.reserve(bucket, opts); err != sender.ErrClosed {
			return f, s, err
		}
	}
	f = &file{path: db.Path(), db: db, now: time.Now, epoch: time.Now(), wake: make(chan struct{}, 1), lanes: make(map[string]*Store)}
	f.lastly = func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.files[db] == f {
			delete(shared.files, db)
		}
	}
	shared.files[db] = f
	s, err := f.reserve(bucket, opts)
	return f, s, err
}
