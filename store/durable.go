package store

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// A file is a bbolt database and what all lanes in it share: the handle, its healing, the commits.
type file struct {
	path   string
	own    bool          // opened by us: healed by us, closed by us
	lock   time.Duration // how long opening waits for another process; not above zero: not at all
	now    func() time.Time
	epoch  time.Time // a reading of now; see steady
	lastly func()    // run once the last lane has gone; nil: nothing

	swap sync.RWMutex // held by readers while they read; by the commit goroutine alone to exchange db
	db   *bolt.DB     // nil while it could not be reopened
	raw  *os.File     // db's own descriptor, when own

	mu      sync.Mutex // a leaf; guards what follows
	lanes   map[string]*Store
	queue   []*write // waiting for the next commit
	lazy    []*write // riding on it, or waiting for timer
	lazyN   int      // outcomes in lazy
	timer   *time.Timer
	running bool // the commit goroutine is alive
	closing bool
	failed  error     // the last commit failed and the file has not healed; nil: all is well
	healAt  time.Time // not before this is healing tried again

	done sync.WaitGroup // the commit goroutine

	fault func(committed bool) error // tests: fails a commit before, or after, it is on disk; else nil
}

// uncured names the cure that is off, for internal/powercut to prove that it is needed: creation,
// dirsync, heal, metas, or sync for all commits. Set only by its linker (-X); "": all are on.
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
	f := &file{path: real, own: true, lock: o.LockTimeout, now: now, epoch: now(), lanes: make(map[string]*Store)}
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
	return f, nil
}

// settlePath resolves links and refuses what bbolt would write to, map or wait for before it noticed
// that it is no file of ours.
func settlePath(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
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

// create makes a complete file under another name and gives it its own only when it is on disk: a
// power cut in bbolt's very first writes leaves a file that never opens again.
func create(path string, lane []byte, mode os.FileMode) error {
	removeLeftovers(path)
	if uncured == "creation" {
		return makeFile(path, lane, mode)
	}
	tmp := path + leftover + rand.Text()
	defer os.Remove(tmp)
	if err := makeFile(tmp, lane, mode); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what another process has made meanwhile.
	switch err := os.Link(tmp, path); {
	case err == nil:
	case errors.Is(err, fs.ErrExist):
		return nil // theirs is as good
	default: // a file system without links
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// makeFile makes a database with an empty lane, and syncs it but not its name.
func makeFile(path string, lane []byte, mode os.FileMode) error {
	db, err := bolt.Open(path, mode, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return createLane(tx, lane) })
	return errors.Join(err, db.Close(), syncFile(path))
}

const leftover = ".creating-"

// removeLeftovers clears away what a creation left that was killed. A young one may be alive.
func removeLeftovers(path string) {
	old, err := filepath.Glob(path + leftover + "*")
	if err != nil {
		return // the path has a pattern in it; the leftovers harm nobody
	}
	for _, p := range old {
		if info, err := os.Stat(p); err == nil && time.Since(info.ModTime()) > time.Minute {
			_ = os.Remove(p)
		}
	}
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" || uncured == "dirsync" {
		return nil // directories cannot be synced on Windows, and names need not be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openDB opens the database and heals it before anything is written to it.
func (f *file) openDB() error {
	var raw *os.File
	var db *bolt.DB
	err := guard(func() (err error) {
		db, err = bolt.Open(f.path, 0, &bolt.Options{
			Timeout:         max(f.lock, 1), // zero would wait for ever
			FreelistType:    bolt.FreelistMapType,
			NoFreelistSync:  true, // else Open itself may commit, before the healing
			NoSync:          uncured == "sync",
			InitialMmapSize: mapSize,
			NoStatistics:    true,
			OpenFile: func(name string, flag int, mode os.FileMode) (file *os.File, err error) {
				raw, err = os.OpenFile(name, flag&^os.O_CREATE, mode)
				return raw, err
			},
		})
		return err
	})
	if err != nil {
		if raw != nil {
			unlock(raw) // bbolt has done so, unless it panicked
		}
		return f.explain(err)
	}
	if err := errors.Join(rewriteMetas(raw, db.Info().PageSize), syncDir(filepath.Dir(f.path))); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrStorage, err), db.Close())
	}
	db.NoFreelistSync = false
	f.db, f.raw = db, raw
	return nil
}

// mapSize is address space, not memory: below it the map never has to move, which would make readers
// and writers wait for each other. On Windows the file itself would grow to it.
var mapSize = func() int {
	if runtime.GOOS == "windows" || math.MaxInt == math.MaxInt32 {
		return 0
	}
	return 1 << 30
}()

// explain gives the errors of bolt.Open the names that callers branch on.
func (f *file) explain(err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, ErrCorrupt), errors.As(err, &system):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: no lock within %v", ErrLocked, max(f.lock, 0))
	case !errors.Is(err, berrors.ErrVersionMismatch) && f.wasBolt():
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

// wasBolt tells a damaged database from a file that never was one, by the number that each of its
// two meta pages leads with.
func (f *file) wasBolt() bool {
	const magic, header = 0xED0CDAED, 16
	r, err := os.Open(f.path)
	if err != nil {
		return false
	}
	defer r.Close()
	for _, off := range [...]int64{0, int64(os.Getpagesize())} {
		var b [4]byte
		if _, err := r.ReadAt(b[:], off+header); err == nil && binary.NativeEndian.Uint32(b[:]) == magic {
			return true
		}
	}
	return false
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
		return nil
	}
	f.swap.Lock()
	defer f.swap.Unlock()
	if f.db != nil {
		_ = guard(f.db.Close) // if that left the file locked, opening it will say so
		f.db, f.raw = nil, nil
	}
	return f.openDB()
}

// view runs fn in a read transaction. fn must not keep what it reads.
func (f *file) view(fn func(tx *bolt.Tx) error) error {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.db == nil {
		return cmp.Or(f.failure(), ErrClosed)
	}
	return guard(func() error { return f.db.View(fn) })
}

// guard turns what bbolt does on a damaged or truncated file, a panic or a fault in the map, into an error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: bbolt: %v", ErrCorrupt, r)
		}
	}()
	return fn()
}
