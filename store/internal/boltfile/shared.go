package boltfile

import (
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
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
	f := newFile(db.Path(), time.Now)
	f.db = db
	shared.files[db] = f
	return f, f.Enter(name, lane)
}

// forget removes a File whose last lane has left.
func forget(f *File) {
	shared.Lock()
	defer shared.Unlock()
	if shared.files[f.db] == f {
		delete(shared.files, f.db)
	}
}
