// Package boltfile keeps a bbolt file usable through failures that bbolt alone does not survive,
// and commits to it for several lanes at once.
//
// A [File] does this:
//
//   - heal.go: it locks and inspects the file before bbolt opens it, and heals it at Open and after
//     every failed commit.
//   - write.go, commit.go: it gathers the writes of all lanes and commits them in shared
//     transactions.
//   - room.go: it keeps a reserve inside the file for a full disk.
//   - present.go: it notices when the file is removed, replaced or cut short while it is open.
//   - compact.go: it compacts the file when little of it is in use.
//   - create.go: it creates a file that is complete, or does not exist.
//
// It knows nothing about the content of the file: each [Lane] applies its own changes inside the
// transaction that all lanes share. An application's own database ([EnterShared]) gets the shared
// commits only; the rest stays with the application.
//
// Errors do not name the file: callers add its path once. docs/durability.md describes what each
// failure does; docs/format.md describes the file.
package boltfile

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

	"github.com/seed8107221f/outbox/internal/fault"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// Errors that callers branch on. Damage is [pages.ErrCorrupt], a foreign file is [pages.ErrFormat].
var (
	// ErrLocked: another process, or another File of this one, has the file or the lane.
	ErrLocked = errors.New("in use")
	// ErrClosed: the file is closed, or the lane has left it. Nothing was written.
	ErrClosed = errors.New("closed")
	// ErrDisk: the disk failed. Unless the error says that nothing was stored, the outcome is
	// unknown.
	ErrDisk = errors.New("the storage failed")
	// ErrNoSpace: the disk or a quota is full, or the process may not make larger files. The error
	// says which. Nothing was stored.
	ErrNoSpace = errors.New("no room for the file to grow")
	// ErrNilContext: a caller's mistake, which must not end the process.
	ErrNilContext = errors.New("the context is nil: nothing was done")
)

// Options are the settings of [Open].
type Options struct {
	// LockTimeout is how long Open waits while another process, or another File in this process,
	// has the file. Zero or less: not at all. Healing waits as long.
	LockTimeout time.Duration
	// Mode is the permission bits of a file that Open creates. It must not be 0.
	Mode os.FileMode
	// Now reads the clock. It must not be nil.
	Now func() time.Time
	// Init writes the first content of a file that Open creates. It must not be nil.
	Init func(tx *bolt.Tx) error
}

// A File is a bbolt database and what its lanes share: the handle, the healing, the commits. Its
// methods are safe for concurrent use, except where they say otherwise.
//
//   - Between two commits, the newest transaction in a file of our own is the last one that this
//     File committed. Any other means that another process wrote to the file, and nothing more is
//     acknowledged.
//   - After a failed commit, nothing is written before the file has been opened again and its meta
//     pages have been written back and synced.
//   - mu is not held while a Lane is called, while the disk works, or while a caller waits.
//   - swap is held for reading during a read, and for writing while db is replaced. So a reader
//     waits for healing and for the last step of a compaction, not for commits.
//   - A goroutine that holds swap may take mu; one that holds mu takes no other lock.
//
// A crash loses a File and harms nothing: what was not committed was not acknowledged.
type File struct {
	// Set before the File is used, then never changed.
	path string           // of the file; when own, absolute and without links
	own  bool             // opened by Open; otherwise an application's database
	made bool             // Open created it
	lock time.Duration    // Options.LockTimeout
	now  func() time.Time // Options.Now
	// fault makes commits fail, for tests; nil: none.
	fault *fault.Faults

	swap    sync.RWMutex // guards db and raw; held for reading by View
	db      *bolt.DB     // nil: closed, or could not be opened again
	raw     *os.File     // the descriptor that db uses, when own
	broken  atomic.Bool  // bbolt panicked, perhaps with its locks held: do not use db
	away    atomic.Bool  // the path did not name the file when it was to heal: do not read it
	largest atomic.Int64 // bytes of the largest record, as far as known, up to mostReserve
	used    atomic.Int64 // bytes of the file that bbolt uses as of the last commit, when own
	length  atomic.Int64 // bytes of the file when it was last read or committed to

	witness *witness // when not own; guarded by the lock of db, which each writer holds

	// Owned by the commit goroutine; by Open before it starts, and by Close after it has ended.
	// Used only when own, except group, last, and the first two, which for a shared file are
	// guarded like witness.
	info            os.FileInfo // of the file that is open
	statAt          time.Time   // when a stat last showed that the path names it
	last            uint64      // the newest transaction in the file; 0: a new copy. When not own: as it healed
	size            int64       // bytes of the file that are written, zeros included
	dirty           bool        // Close has to write the freelist
	fullAt          time.Time   // when the disk was last found to be full; zero: it is not
	fullErr         error       // what the system said then
	compactFailedAt time.Time   // when a compaction last failed; zero: none has
	cannotCompact   bool        // the last compaction failed because of where the file is
	group           []*Write    // empty memory for the next group

	mu        sync.Mutex         // a leaf; guards what follows
	lanes     map[string]*member // by name
	members   map[Lane]*member   // the same
	queue     []*Write           // wait for the next commit
	gathered  []*Write           // wait for another write, for maxGathered items, or for timer
	gatheredN int                // items in gathered
	timer     *time.Timer        // calls FlushGathered; nil: nothing is gathered
	started   bool               // the commit goroutine exists. It is kept, since a new stack would grow again
	running   bool               // the commit goroutine looks for work; otherwise it waits for wake
	closing   bool               // no more writes are accepted
	failed    error              // why a commit failed, until the file has healed; nil: all is well
	healAt    time.Time          // healing is not tried again before this
	healAsked bool               // heal, though no write waits
	fallback  error              // see Fallback

	wake chan struct{}  // 1-buffered; sent to with mu held, only while started and not running
	done sync.WaitGroup // the commit goroutine
}

// withoutFix names one fix that is switched off, so that internal/powercut can prove that it is
// needed: creation, dirsync, heal, metas, compactsync, reserve, or sync (of all commits). "": all
// fixes are on. Only the linker sets it (-X).
var withoutFix string

// Open opens the bbolt database at path, and creates it when nothing is there. It follows links. It
// is healed when Open returns, and stays locked until [File.Close]. [ErrLocked]: another process,
// or another File, has it. [pages.ErrFormat] or [pages.ErrCorrupt]: it cannot be used, and stays as
// it is. [ErrDisk]: it could not be read or synced.
func Open(path string, o Options) (*File, error) {
	real, err := ResolvePath(path)
	if err != nil {
		return nil, err
	}
	if err := checkDir(filepath.Dir(real)); err != nil {
		return nil, err
	}
	f := newFile(real, o.Now)
	f.own, f.lock, f.fault = true, o.LockTimeout, fault.For(real)
	if _, err := os.Stat(real); errors.Is(err, fs.ErrNotExist) {
		if f.made, err = create(real, o.Mode, o.Init); err != nil {
			return nil, err
		}
	}
	if err := f.openDB(); err != nil {
		return nil, err
	}
	RemoveLeftovers(tempPrefix(real, creating), time.Minute)
	RemoveLeftovers(tempPrefix(real, compacting), 0) // only a process with the lock compacts, and that is this one
	return f, nil
}

func newFile(path string, now func() time.Time) *File {
	return &File{path: path, now: now, wake: make(chan struct{}, 1), lanes: make(map[string]*member), members: make(map[Lane]*member)}
}

// ResolvePath returns the absolute path without links of the file at path, which need not exist.
// What is no regular file, or is empty, is [pages.ErrFormat]: bbolt would write to it, map it or
// wait for it before it noticed that it is not an outbox. The process may change its directory
// later.
func ResolvePath(path string) (string, error) {
	if path == "" {
		return "", errors.New("the path is empty")
	}
	if os.IsPathSeparator(path[len(path)-1]) {
		return "", fmt.Errorf("%w: the path ends with a separator, and so names a directory", pages.ErrFormat)
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
		return "", fmt.Errorf("%w: it is %s", pages.ErrFormat, kind(info.Mode()))
	}
	if info.Size() == 0 {
		return "", fmt.Errorf("%w: it has 0 bytes; an outbox never has: remove it if nothing is missed", pages.ErrFormat)
	}
	return real, nil
}

// kind says what a file is that is not a regular one.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// Path returns the path of the file. When Open opened it, the path is absolute and has no links.
func (f *File) Path() string { return f.path }

// Length returns the bytes of the file, as of the last read or commit. Of an application's database
// it is what bbolt uses. It never waits.
func (f *File) Length() int64 { return f.length.Load() }

// Own reports whether [Open] opened the file. Any other file is an application's database: it is
// not healed, compacted or closed here, and the application's own transactions come between the
// commits.
func (f *File) Own() bool { return f.own }

// Created reports whether [Open] created the file.
func (f *File) Created() bool { return f.made }

// Serves reports whether the file is the application's database db.
func (f *File) Serves(db *bolt.DB) bool { return !f.own && f.db == db }

// Err returns why the file cannot be used: a commit failed and the file has not healed; nil: all is
// well.
func (f *File) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Fallback returns what was wrong with one of the two meta pages when the file was opened; nil:
// nothing. If it is not nil, the last commit before that may be missing.
func (f *File) Fallback() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fallback
}

// View runs fn in a read transaction. fn must not keep what it reads, and must not call the File. A
// panic in fn is [pages.ErrCorrupt]: a file of our own has then failed, and is opened again and
// inspected before the next commit. [ErrClosed]: the file is closed.
func (f *File) View(fn func(tx *bolt.Tx) error) error {
	f.swap.RLock()
	defer f.swap.RUnlock()
	if f.db == nil || f.broken.Load() || f.away.Load() {
		return cmp.Or(f.Err(), ErrClosed)
	}
	if err := f.notTruncated(); err != nil {
		return f.noteFailure(err)
	}
	err := Catch(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			if !f.own {
				f.length.Store(tx.Size())
			}
			return fn(tx)
		})
	})
	if f.own && errors.As(err, new(panicked)) {
		f.broken.Store(true)
		return f.noteFailure(err)
	}
	return err
}

// noteFailure notes that the file has failed, and returns err. A failure that was noted before
// stays.
func (f *File) noteFailure(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = cmp.Or(f.failed, err)
	return err
}

// SetFault is for tests. fn is called before and after each commit, with false and true. An error
// makes the commit fail before or after it is on disk. nil: no faults. Call it while no commit
// runs.
func (f *File) SetFault(fn func(committed bool) error) { f.fault = &fault.Faults{Commit: fn} }

// panicked is the error of a panic or a memory fault in bbolt, which a damaged or truncated file
// causes.
type panicked struct{ what any }

func (p panicked) Error() string { return fmt.Sprintf("%v: bbolt: %v", pages.ErrCorrupt, p.what) }
func (p panicked) Unwrap() error { return pages.ErrCorrupt }

// Catch calls fn. It returns a panic in fn, or a fault in the memory map, as an error that wraps
// [pages.ErrCorrupt]. A panic in another goroutine is not caught.
func Catch(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = panicked{r}
		}
	}()
	return fn()
}
