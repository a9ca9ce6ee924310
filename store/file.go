package store

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// A file is a bbolt database and what all lanes in it share: the handle, its healing, the commits.
type file struct {
	path   string        // absolute, when own
	own    bool          // opened by us: healed by us, closed by us
	lock   time.Duration // how long opening waits for another process; not above zero: not at all
	now    func() time.Time
	epoch  time.Time // a reading of now; see steady
	lastly func()    // run once the last lane has gone; nil: nothing

	swap    sync.RWMutex // held by readers while they read; by the commit goroutine alone to exchange db
	db      *bolt.DB     // nil while it could not be reopened
	raw     *os.File     // db's own descriptor, when own
	broken  atomic.Bool  // bbolt panicked and may have left its locks held: db is not to be used any more
	largest atomic.Int64 // bytes of the largest record, as far as known; it counts up to mostReserve
	used    atomic.Int64 // bytes of the file that the last commit rests on, when own

	// Owned by the commit goroutine, when own.
	info   os.FileInfo // which file it is that the path names
	looked time.Time   // when that was last seen by itself
	last   uint64      // the last transaction, ours
	size   int64       // bytes of the file, written all
	dirty  bool        // not to be told from a file whose process was killed
	fullAt time.Time   // when the disk last had no room; zero: it has
	shrunk time.Time   // when compaction last failed

	wake  chan struct{} // holds one, which has the commit goroutine run again
	group []*write      // the memory of its next group

	mu       sync.Mutex // a leaf; guards what follows
	lanes    map[string]*Store
	queue    []*write // waiting for the next commit
	lazy     []*write // riding on it, or waiting for timer
	lazyN    int      // outcomes in lazy
	timer    *time.Timer
	started  bool // there is a commit goroutine: from the first write to the end, as the stack of a new one would have to grow
	running  bool // it looks for work
	closing  bool
	failed   error     // the last commit failed and the file has not healed; nil: all is well
	healAt   time.Time // not before this is healing tried again
	fallback error     // what was wrong with the newest meta page when the file was opened; nil: nothing

	done    sync.WaitGroup // the commit goroutine
	answers sync.Pool      // of chan error: those of writes that have been answered
	spare   sync.Pool      // of *write: those that went well, with the memory of what they stored

	fault func(committed bool) error // tests: fails a commit before, or after, it is on disk; else nil
}

// uncured names the cure that is off, for internal/powercut to prove that it is needed: creation,
// dirsync, heal, metas, compactsync, reserve, or sync for all commits. Set only by its linker (-X); "": all are on.
var uncured string

// steady places t on a clock that runs with the monotonic one and agreed with the wall when the file
// was opened, so that a wall clock that steps moves no retry and no pause of a running process.
func (f *file) steady(t time.Time) int64 { return f.epoch.UnixNano() + int64(t.Sub(f.epoch)) }

// instant is the inverse of steady.
func (f *file) instant(ns int64) time.Time {
	return f.epoch.Add(time.Duration(ns - f.epoch.UnixNano()))
}

// openFile opens the database at path, creating it with an empty lane called name when nothing is there.
func openFile(path, name string, o *Options, now func() time.Time) (*file, error) {
	real, err := settlePath(path)
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	f := &file{path: real, own: true, lock: o.LockTimeout, now: now, epoch: now(), wake: make(chan struct{}, 1), lanes: make(map[string]*Store)}
	if f.lock == 0 {
		f.lock = defaultLockTimeout
	}
	mode := o.Mode
	if mode == 0 {
		mode = defaultMode
	}
	if _, err := os.Stat(real); errors.Is(err, fs.ErrNotExist) {
		if err := create(real, []byte(name), mode); err != nil {
			return nil, fmt.Errorf("store: create %s: %w", path, err)
		}
	}
	if err := f.openDB(); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	removeLeftovers(real+creating, time.Minute)
	removeLeftovers(real+compacting, 0) // who compacts has the lock, and we have it now
	return f, nil
}

// settlePath resolves links, and refuses what bbolt would write to, map or wait for before it noticed
// that it is no file of ours. The result is absolute: the process may change its directory.
func settlePath(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		return filepath.Join(dir, filepath.Base(path)), nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: it is a %s, not a regular file", ErrFormat, info.Mode().Type())
	}
	if info.Size() == 0 {
		return "", fmt.Errorf("%w: it has 0 bytes; an outbox never has: remove it if nothing is missed", ErrFormat)
	}
	return real, nil
}

// view runs fn in a read transaction. fn must not keep what it reads. A panic in it is damage: the file
// has failed, and is opened anew, and walked, before the next commit.
func (f *file) view(fn func(tx *bolt.Tx) error) error {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.db == nil || f.broken.Load() {
		return cmp.Or(f.failure(), sender.ErrClosed)
	}
	if err := f.whole(); err != nil {
		return f.fails(err)
	}
	err := guard(func() error { return f.db.View(fn) })
	if f.own && errors.As(err, new(panicked)) {
		f.broken.Store(true)
		return f.fails(err)
	}
	return err
}

// fails notes that the file has failed, unless it has before, and returns err.
func (f *file) fails(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = cmp.Or(f.failed, err)
	return err
}

// panicked is what bbolt did on a damaged or truncated file: it panicked, or touched memory that is not there.
type panicked struct{ what any }

func (p panicked) Error() string { return fmt.Sprintf("%v: bbolt: %v", ErrCorrupt, p.what) }
func (p panicked) Unwrap() error { return ErrCorrupt }

// guard turns a panic, or a fault in the map, into an error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = panicked{r}
		}
	}()
	return fn()
}
