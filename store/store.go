package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
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
)

// A Store is one lane. All methods are safe for concurrent use.
//
// Its memory follows from the file and from what is in flight, and changes only after a commit. mu is a
// leaf: it is never held while the disk is read or written, nor while the sender is woken.
type Store struct {
	file   *boltfile.File
	name   string
	bucket []byte
	clock  *clock
	opts   Options // with defaults filled in
	codec  codec   // set before the lane is handed out

	claims   sync.Mutex // one Claim at a time; nothing else takes it
	claiming claim      // the one that runs; guarded by claims
	reading  []fetched  // the memory of what a claim reads of ready; guarded by claims

	mu         sync.Mutex // a leaf; guards what follows
	order      order.Order
	fetched    []fetched     // read of ready, beyond the order's cursor
	until      time.Time     // when the next item of timed or later is due, as last read; zero: there is none
	untilKnown bool          // nothing else of later is due, and no commit and no outcome has changed that since
	changes    uint64        // counts what makes wrong what is being read of ready or later
	commits    uint64        // counts the commits of the lane
	ledger     format.Ledger // as of transaction txid
	txid       uint64
	ahead      bool          // Claim has seen a commit that ledger does not contain yet
	longest    time.Duration // the longest delay that a retry was ever given
	pause      time.Time     // end of the kept pause
	oldest     time.Time     // Created of the next item to be claimed, as last seen
	room       chan struct{} // closed when room appears
	erasing    []*erasure    // calls of Erase that run
	wake       func()        // of the sender that is attached; nil: nobody
	refused    error         // what Append returns instead of storing; nil: it stores

	// Owned by the commit goroutine.
	applying struct {
		txn      *txn        // of the last Apply; nil: it is committed
		outcomes []*settling // the memory of its outcomes
	}
	reapAt time.Time // not before this KeepDead is looked after

	writes   sync.Pool // of *write: those that went well, with the memory of what they stored
	counts   snapshot
	damage   atomic.Pointer[error] // that Claim met and could not pass; nil: none
	closed   atomic.Bool
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
	s, err := openFile(path, opts, now)
	if err != nil {
		return nil, &sender.StoreError{Op: "store: open", Place: path, Err: naming(err)}
	}
	return s, nil
}

func openFile(path string, opts Options, now func() time.Time) (*Store, error) {
	f, err := boltfile.Open(path, boltfile.Options{
		LockTimeout: cmp.Or(opts.LockTimeout, defaultLockTimeout),
		Mode:        cmp.Or(opts.Mode, defaultMode),
		Now:         now,
		Init:        func(tx *bolt.Tx) error { return format.Create(tx, []byte(format.DefaultLane)) },
	})
	if err != nil {
		return nil, err
	}
	s := makeStore(format.DefaultLane, opts, newClock(now))
	if err := s.enter(f, false); err != nil {
		f.Abandon()
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func makeStore(name string, opts Options, c *clock) *Store {
	return &Store{name: name, bucket: []byte(name), opts: opts, clock: c, room: make(chan struct{})}
}

// Lane opens another lane in the file of s, creating it when there is none. It shares the commits and
// the healing of s and is closed with it, or alone by its own Close. A lane that is open already is
// ErrLocked. nil options are fine.
func (s *Store) Lane(name string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(name) == 0 || len(name) > format.MaxLaneName {
		return nil, fmt.Errorf("store: lane name of %d bytes, 1 to %d", len(name), format.MaxLaneName)
	}
	if s.closed.Load() {
		return nil, s.wrap("open another lane", sender.ErrClosed)
	}
	l := makeStore(name, opts, s.clock)
	if err := l.enter(s.file, true); err != nil {
		return nil, &sender.StoreError{Op: "store: open", Place: l.Place(), Err: naming(err)}
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

// enter adds the lane to the file and loads it. After an error it is not part of the file.
func (s *Store) enter(f *boltfile.File, create bool) error {
	s.file = f
	if err := f.Enter(s.name, (*lane)(s)); err != nil {
		return err
	}
	if err := s.load(create); err != nil {
		f.Leave(s.name)
		return err
	}
	return nil
}

// load makes the lane if it is missing, and reads what memory holds of it.
func (s *Store) load(create bool) (err error) {
	if create {
		missing := false
		if err := s.file.View(func(tx *bolt.Tx) error {
			missing = tx.Bucket(s.bucket) == nil
			return nil
		}); err != nil {
			return err
		}
		if missing {
			w := s.newWrite()
			w.create = true
			if err := s.do(context.Background(), w, 0); err != nil {
				return err
			}
		}
	}
	if err := s.reload(); err != nil {
		return err
	}
	if err := s.openCodec(); err != nil {
		return err
	}
	if err := s.clampRetries(); err != nil {
		return err
	}
	if s.opts.KeepDead > 0 && s.Counts().Dead > 0 {
		return s.do(context.Background(), s.newWrite(), 0) // each commit looks after KeepDead
	}
	return nil
}

// Close commits what waits and closes the lane; that of [Open] closes the file and all its lanes. It
// waits for the commit that runs and, in an application's database, for the transaction that the
// application holds. A second Close does nothing. What is in flight is handed out again by the next Open.
func (s *Store) Close() error {
	if s.shut() {
		return nil
	}
	f := s.file
	if !f.Own() || s.name != format.DefaultLane {
		f.Leave(s.name)
		return nil
	}
	for _, l := range f.Lanes() {
		(*Store)(l.(*lane)).shut()
	}
	return s.wrap("close", naming(f.Close()))
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
		return s.wrap("attach", fmt.Errorf("%w: another sender drains it", ErrLocked))
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
func (s *Store) FlushGathered() { s.file.FlushGathered() }

// Path returns the path of the file, links followed.
func (s *Store) Path() string { return s.file.Path() }

// Place names the lane and its file, as errors do.
func (s *Store) Place() string { return fmt.Sprintf("lane %q of %s", s.name, s.file.Path()) }

// Fallback is nil, or says that one of the two meta pages of the file was unreadable when it was opened,
// and why. The file is then as of the transaction of the other one: the last commit before it was opened
// may be missing. After a clean Close that commit has stored nothing.
func (s *Store) Fallback() error { return s.wrap("open", s.file.Fallback()) }

// Paused returns the end of the kept pause; zero or past: there is none. It compares with time.Now by
// the monotonic clock.
func (s *Store) Paused() time.Time { return s.counts.load().PausedUntil }
