package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/pages"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// Options are the settings of a lane. nil and the zero value are fine.
type Options struct {
	// LockTimeout is how long Open waits for another process, or another Open in this one, to let go
	// of the file. 0 means 5s; negative: not at all. Only Open looks at it.
	LockTimeout time.Duration
	// MaxPayload is the largest payload in bytes. 0 means 4 MiB; at most 1 GiB. A failed item is
	// rewritten whole.
	MaxPayload int
	// MaxPending is how many items may be pending. 0: no limit.
	MaxPending int
	// MaxBytes is how many bytes of payload may be kept, those of dead items included. 0: no limit. A
	// sealed item counts its sealed part: kind, key, header, reasons and some 50 bytes besides.
	MaxBytes int64
	// KeepDead is how long dead items are kept; older ones are dropped, and counted, when the lane is
	// opened and from time to time as it commits. 0: for ever.
	KeepDead time.Duration
	// Block makes Append wait for room until its context ends, instead of returning sender.ErrFull.
	Block bool
	// Gather is how long an outcome may wait for company before it is committed: what a crash in
	// that time sends again. 0 means 100ms; negative: not at all.
	Gather time.Duration
	// Mode is the permission of a file that Open creates. 0 means 0600. Only Open looks at it.
	Mode os.FileMode
	// Sealer seals what records hold. nil: they lie in the file as they are, and a lane that was ever
	// opened with one is ErrSealed. The first Open with one makes the lane a sealed one, for good, which
	// older builds refuse; what it holds already is sealed when it is rewritten, if it ever is.
	Sealer Sealer
}

const (
	defaultLockTimeout = 5 * time.Second
	defaultMaxPayload  = 4 << 20
	defaultGather      = 100 * time.Millisecond
	defaultMode        = 0o600
	defaultLane        = "outbox"

	maxLaneName = 255
)

// Errors that callers branch on; they arrive wrapped, with the path and the numbers.
var (
	// ErrLocked: another process, or another Store of this one, has the file or the lane.
	ErrLocked = errors.New("in use")
	// ErrFormat: the file is not an outbox, or was written by a newer version.
	ErrFormat = pages.ErrFormat
	// ErrCorrupt: the file is an outbox, and damaged.
	ErrCorrupt = pages.ErrCorrupt
	// ErrSealed: a lane, or a record, is sealed, and the Sealer that was given cannot open it. The error
	// names the key. Nothing was changed, and with the key it is as it was.
	ErrSealed = errors.New("sealed")
)

// A Store is one lane. All methods are safe for concurrent use.
type Store struct {
	file   *file
	name   string
	bucket []byte
	opts   Options // with defaults filled in
	vault  vault   // set before the lane is handed out

	mu      sync.Mutex // a leaf; guards what follows
	walk    walk
	ledger  format.Ledger // as of transaction txid
	txid    uint64
	ahead   bool          // Claim has seen a commit that ledger is yet to learn of
	longest time.Duration // the longest delay a retry was ever given
	pause   time.Time     // end of the kept pause
	oldest  time.Time     // Created of the next item to be claimed, as last seen
	room    chan struct{} // closed when room appears
	erasing []*erasure    // calls of Erase that run
	wake    func()        // of the sender that is attached; nil: nobody
	refused error         // what Append returns instead of storing; nil: it stores

	reapAt time.Time // not before this KeepDead is looked after; owned by the commit goroutine
	left   bool      // no write of the lane is accepted any more; guarded by file.mu

	counts snapshot
	damage atomic.Pointer[error] // that Claim met and could not pass; nil: none
	closed atomic.Bool

	attached atomic.Bool // a sender drains the lane
}

// Open opens the lane "outbox" in the file at path, and creates the file when there is none. Links
// are followed. nil options are fine. It waits for a lock held by another process at most
// LockTimeout and then returns ErrLocked; ErrFormat and ErrCorrupt say that the file is not usable,
// and leave it as it is.
func Open(path string, o *Options) (*Store, error) { return open(path, o, time.Now) }

func open(path string, o *Options, now func() time.Time) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	f, err := openFile(path, defaultLane, &opts, now)
	if err != nil {
		return nil, err
	}
	s, err := f.lane(defaultLane, opts, false)
	if err != nil {
		f.dirty = false // it stays as it is
		return nil, errors.Join(fmt.Errorf("store: open %s: %w", path, err), f.close())
	}
	return s, nil
}

// Lane opens another lane in the file of s, creating it when there is none. It shares the commits and
// the healing of s and is closed with it, or alone by its own Close. A lane that is open already is
// ErrLocked. nil options are fine.
func (s *Store) Lane(name string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(name) == 0 || len(name) > maxLaneName {
		return nil, fmt.Errorf("store: lane name of %d bytes, 1 to %d", len(name), maxLaneName)
	}
	if s.closed.Load() {
		return nil, fmt.Errorf("store: lane %q: %w", name, sender.ErrClosed)
	}
	l, err := s.file.lane(name, opts, true)
	if err != nil {
		return nil, fmt.Errorf("store: lane %q in %s: %w", name, s.file.path, err)
	}
	return l, nil
}

func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	for _, f := range [...]struct {
		name string
		n    int64
	}{{"MaxPayload", int64(opts.MaxPayload)}, {"MaxPending", int64(opts.MaxPending)}, {"MaxBytes", opts.MaxBytes}, {"KeepDead", int64(opts.KeepDead)}} {
		if f.n < 0 {
			return opts, fmt.Errorf("store: %s is %d, 0 or more expected", f.name, f.n)
		}
	}
	if opts.Sealer != nil {
		if n := len(opts.Sealer.Current()); n < 1 || n > maxKeyID {
			return opts, fmt.Errorf("store: the Sealer's current key id has %d bytes, 1 to %d expected", n, maxKeyID)
		}
	}
	if opts.MaxPayload > format.MaxMaxPayload {
		return opts, fmt.Errorf("store: MaxPayload is %d bytes, at most %d", opts.MaxPayload, format.MaxMaxPayload)
	}
	if opts.MaxPayload == 0 {
		opts.MaxPayload = defaultMaxPayload
	}
	if opts.Gather == 0 {
		opts.Gather = defaultGather
	}
	return opts, nil
}

// lane opens a lane of the file.
func (f *file) lane(name string, opts Options, create bool) (*Store, error) {
	s, err := f.reserve(name, opts)
	if err != nil {
		return nil, err
	}
	return s, f.load(s, create)
}

// reserve enters a lane in the file's books, once.
func (f *file) reserve(name string, opts Options) (*Store, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil, sender.ErrClosed
	}
	if f.lanes[name] != nil {
		return nil, fmt.Errorf("%w: this process has the lane open", ErrLocked)
	}
	s := &Store{file: f, name: name, bucket: []byte(name), opts: opts, room: make(chan struct{})}
	f.lanes[name] = s
	return s, nil
}

// load brings a reserved lane to life, or strikes it from the books.
func (f *file) load(s *Store, create bool) (err error) {
	defer func() {
		if err != nil {
			f.release(s)
		}
	}()
	missing := false
	if err := f.view(func(tx *bolt.Tx) error {
		missing = tx.Bucket(s.bucket) == nil
		return nil
	}); err != nil {
		return err
	}
	if missing && create {
		w := &write{lane: s, create: true}
		if err := f.do(context.Background(), w, 0); err != nil {
			return err
		}
	}
	if err := s.reload(); err != nil {
		return err
	}
	if err := s.openVault(); err != nil {
		return err
	}
	if err := s.straighten(); err != nil {
		return err
	}
	if s.opts.KeepDead > 0 && s.Counts().Dead > 0 {
		return f.do(context.Background(), &write{lane: s}, 0) // each commit looks after KeepDead
	}
	return nil
}

// release strikes a lane from the file's books, lets go of the file with the last one, and reports
// whether this was the last.
func (f *file) release(s *Store) bool {
	f.mu.Lock()
	if f.lanes[s.name] == s {
		delete(f.lanes, s.name)
	}
	last := len(f.lanes) == 0
	if last && !f.own {
		f.closing = true
		f.start()
	}
	f.mu.Unlock()
	if last && f.lastly != nil {
		f.lastly()
	}
	return last
}

// Close commits what waits and closes the lane; that of [Open] closes the file and all its lanes. It
// waits for the commit that runs and, in an application's database, for the transaction that the
// application holds. A second Close does nothing. What is in flight is handed out again by the next Open.
func (s *Store) Close() error {
	if s.shut() {
		return nil
	}
	f := s.file
	if f.own && s.name == defaultLane {
		for _, lane := range f.laneList() {
			lane.shut()
		}
		if err := f.close(); err != nil {
			return fmt.Errorf("store: close %s: %w", f.path, err)
		}
		return nil
	}
	f.leave(s)
	if f.release(s) && !f.own {
		f.done.Wait()
	}
	return nil
}

// shut refuses what comes from now on, also those who wait for room, and reports whether it was so
// before.
func (s *Store) shut() bool {
	was := s.closed.Swap(true)
	s.mu.Lock()
	s.makeRoom()
	s.mu.Unlock()
	return was
}

// Refuse makes Append and AppendTx return err from now on and store nothing, those who wait for room
// included; nil takes it back. What is being stored already is finished.
func (s *Store) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = err
	s.makeRoom()
}

// open says whether the lane takes items, and the channel that is closed when this, or its room, may
// have changed.
func (s *Store) open() (room <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, sender.ErrClosed
	}
	return s.room, s.refused
}

// Attach reserves the lane for one sender until Detach; a second one is [ErrLocked]. See
// [sender.Exclusive]. The goroutine that committed calls wake.
func (s *Store) Attach(wake func()) error {
	if s.attached.Swap(true) {
		return fmt.Errorf("%w: another sender drains lane %q in %s", ErrLocked, s.name, s.file.path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake = wake
	return nil
}

// Detach takes Attach back.
func (s *Store) Detach() {
	s.mu.Lock()
	s.wake = nil
	s.mu.Unlock()
	s.attached.Store(false)
}

// FlushGathered commits now what waits to share a commit; see [sender.Gatherer].
func (s *Store) FlushGathered() { s.file.kick() }

// Path returns the path of the file, links followed.
func (s *Store) Path() string { return s.file.path }

// Fallback is nil, or says that one of the two meta pages of the file was unreadable when it was opened,
// and why. The file is then as of the transaction of the other one: the last commit before it was opened
// may be missing. After a clean Close that commit has stored nothing.
func (s *Store) Fallback() error {
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	return s.file.fallback
}

// Paused returns the end of the kept pause; zero or past: there is none. It compares with time.Now by
// the monotonic clock.
func (s *Store) Paused() time.Time { return s.counts.load().PausedUntil }
