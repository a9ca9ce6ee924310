package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// Options are the settings of a lane. nil and the zero value mean the defaults.
type Options struct {
	// LockTimeout is how long Open waits for another process, or another Open in this process, to
	// release the file. 0 means 5s; negative: it does not wait. Only Open uses it.
	LockTimeout time.Duration
	// MaxPayload is the largest payload in bytes. 0 means 4 MiB; at most 1 GiB. A failed item is
	// written again with its whole payload.
	MaxPayload int
	// MaxPending is how many items may be pending. 0: no limit.
	MaxPending int
	// MaxBytes is how many bytes of payload the lane may hold, including dead items. 0: no limit. A
	// sealed item counts as its sealed part: payload, kind, key, header, reasons and about 50 bytes
	// more.
	MaxBytes int64
	// KeepDead is how long dead items are kept. Older ones are dropped, and counted as dropped,
	// when the lane is opened and sometimes when it commits. 0: for ever.
	KeepDead time.Duration
	// Block makes Append wait for room until its context ends, instead of returning sender.ErrFull.
	Block bool
	// Gather is how long an outcome may wait to share a commit. A crash in that time delivers the
	// item again. 0 means 100ms; negative: it does not wait.
	Gather time.Duration
	// Mode is the permission of a file that Open creates: permission bits only, and the owner must
	// be able to read and write. 0 means 0600. Only Open uses it.
	Mode os.FileMode
	// Sealer encrypts what records hold. nil: records are stored in plain text, and a lane that was
	// ever opened with a Sealer is ErrSealed. The first Open with a Sealer seals the lane for good;
	// older versions then refuse it. Records that are stored already are sealed when they are
	// rewritten, if ever.
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
//   - The file is the truth. Memory follows from the file and from what is in flight, and changes
//     only after a commit. A crash loses only what is in flight; it is sent again.
//   - mu is a leaf: it is not held while the disk is read or written, nor while wake runs. No other
//     lock of the Store is taken while it is held, except in counts.
//   - claims is taken before mu.
//   - The commit goroutine of file changes the lane on disk (commit.go). In an application's
//     database the transactions of AppendTx do so too.
type Store struct {
	file   *boltfile.File
	name   string
	bucket []byte
	clock  *clock
	opts   Options // complete, with defaults
	codec  codec   // never changes after Open, Lane or In has returned

	claims   sync.Mutex // held by the one Claim that runs; no other method takes it
	claiming claim      // the Claim that runs; guarded by claims
	reading  []fetched  // memory for what a claim reads of ready; guarded by claims

	mu         sync.Mutex // a leaf; guards the fields up to created
	order      order.Order
	fetched    []fetched     // read ahead of ready, beyond the order's cursor
	until      time.Time     // when the next item of timed or later is due, as last read; zero: none
	untilKnown bool          // nothing else is due before until, and no commit or outcome came since
	changes    uint64        // counts changes that make a reading wrong, see claim
	commits    uint64        // counts the commits that concern the lane
	ledger     format.Ledger // as of transaction txid
	txid       uint64
	ahead      bool          // a claim has read a commit that ledger does not contain yet
	seen       format.Ledger // the lane as Claim has seen it then, in transaction seenTxid
	seenTxid   uint64
	longest    time.Duration // the longest delay that a retry ever had, see clampRetries
	pause      time.Time     // end of the pause that is stored; zero: none
	firstReady time.Time     // Created of the first item of ready; zero: there is none
	retries    ages          // of later
	unreported uint64        // our transaction that may be on disk, and that committed was not told of; 0: none
	room       chan struct{} // closed when there may be room, then replaced
	erasing    []*erasure    // the calls of Erase that run
	moving     []uint64      // Seqs that RunNow moves in later, by the commit that runs: Claim leaves them out
	releasing  bool          // releaseAllDue runs
	wake       func()        // wakes the attached sender; nil: none is attached
	refused    error         // the error that Append returns, see Refuse; nil: it stores
	created    bool          // the lane was not there; false once that was announced

	// The commit goroutine owns the next two; nothing guards them.
	applying struct {
		txn      *txn        // of the last Apply; nil after Committed
		outcomes []*settling // memory for its outcomes
	}
	reapAt time.Time // when reap next looks for old dead items

	releases sync.WaitGroup // the goroutine of releaseAllDue; Add needs mu, and is not called once closed is set
	creating sync.Mutex     // held while lanes are created; taken before all others; guards renamed
	renamed  format.Renames // of the file, as seen when the first lane was created; nil: not yet
	writes   sync.Pool      // of *write, see reuse
	counts   snapshot
	operator atomic.Pointer[sender.Pause] // of the operator, as it is stored; nil: none; written with mu held
	damage   atomic.Pointer[error]        // damage that stops Claim; nil: none
	closed   atomic.Bool
	attached atomic.Bool // a sender drains the lane
}

// Open opens the lane "outbox" in the file at path, and creates the file if there is none. It
// follows links. nil options mean the defaults.
//
// [ErrLocked]: another process held the file for LockTimeout. [ErrFormat], [ErrCorrupt] and
// [ErrSealed]: the file is not usable, and was not changed.
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
	s.created = f.Created()
	if err := s.enter(f); err != nil {
		f.Abandon()
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func makeStore(name string, opts Options, c *clock) *Store {
	return &Store{name: name, bucket: []byte(name), opts: opts, clock: c, room: make(chan struct{})}
}

// Lane opens another lane in the file of s, and creates it if there is none. A name has 1 to 255
// bytes. The lanes of a file share its commits and its healing. Close of the lane closes only this
// lane; Close of the Store that [Open] returned closes all. [ErrLocked]: the lane is open already.
// nil options mean the defaults. To open many lanes use [Store.OpenLanes].
func (s *Store) Lane(name string, o *Options) (*Store, error) {
	ls, err := s.OpenLanes(o, name)
	if err != nil {
		return nil, err
	}
	return ls[0], nil
}

// OpenLanes opens several lanes as [Store.Lane] does, all or none, with the same options. It
// creates those that are missing in one commit, so that a thousand take less than a second. After
// an error none of them is open, and those that were created remain in the file, empty.
func (s *Store) OpenLanes(o *Options, names ...string) (lanes []*Store, err error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if len(name) == 0 || len(name) > format.MaxLaneName {
			return nil, s.wrap("open another lane", fmt.Errorf("a name of %d bytes, 1 to %d expected", len(name), format.MaxLaneName))
		}
	}
	if s.closed.Load() {
		return nil, s.wrap("open another lane", sender.ErrClosed)
	}
	created, err := s.createLanes(names)
	if err != nil {
		return nil, s.wrap("open other lanes", naming(err))
	}
	lanes = make([]*Store, len(names))
	errs := make([]error, len(names))
	var entering sync.WaitGroup
	free := make(chan struct{}, enterAtOnce)
	for i, name := range names {
		free <- struct{}{}
		entering.Go(func() {
			defer func() { <-free }()
			l := makeStore(name, opts, s.clock)
			l.created = created[name]
			if err := l.enter(s.file); err != nil {
				errs[i] = &sender.StoreError{Op: "store: open", Place: l.Place(), Err: naming(err)}
				return
			}
			lanes[i] = l
		})
	}
	entering.Wait()
	if err := cmp.Or(errs...); err != nil {
		for _, l := range lanes {
			if l != nil {
				l.Close()
			}
		}
		return nil, err
	}
	return lanes, nil
}

// enterAtOnce is how many lanes OpenLanes enters at the same time. A new lane with a Sealer needs
// commits of its own, which these share.
const enterAtOnce = 64

// createLanes creates the lanes that are missing, in one commit, and returns their names. It looks
// at all lanes of the file the first time only: whether damage has renamed one.
func (s *Store) createLanes(names []string) (created map[string]bool, err error) {
	s.creating.Lock()
	defer s.creating.Unlock()
	var missing [][]byte
	created = make(map[string]bool)
	if err := s.file.View(func(tx *bolt.Tx) (err error) {
		for _, name := range names {
			if tx.Bucket([]byte(name)) == nil {
				missing = append(missing, []byte(name))
				created[name] = true
			}
		}
		if len(missing) > 0 && s.renamed == nil {
			s.renamed, err = format.Renamed(tx)
		}
		for _, name := range missing {
			err = cmp.Or(err, s.renamed.Check(name))
		}
		return err
	}); err != nil || len(missing) == 0 {
		return created, err
	}
	return created, s.update(context.Background(), func(t *txn) error {
		for _, name := range missing {
			if err := format.CreateNew(t.Root.Tx(), name); err != nil {
				return err
			}
		}
		return nil
	})
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
		opts.Sealer = guardedSealer{opts.Sealer}
		if n := len(opts.Sealer.Current()); n < 1 || n > maxKeyID {
			return opts, fmt.Errorf("store: the Sealer's current key id has %d bytes, 1 to %d expected", n, maxKeyID)
		}
	}
	if m := opts.Mode; m != 0 && (m&^os.ModePerm != 0 || m&0o600 != 0o600) {
		return opts, fmt.Errorf("store: Mode is %v, permissions with -rw------- expected", m)
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

// enter adds the lane to the file and loads it. After an error the lane is not part of the file.
func (s *Store) enter(f *boltfile.File) error {
	s.file = f
	if err := f.Enter(s.name, (*lane)(s)); err != nil {
		return err
	}
	if err := s.load(false); err != nil {
		f.Leave(s.name)
		return err
	}
	return nil
}

// load creates the lane if create is set and it is missing, and reads what memory holds of it.
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
			w.create, s.created = true, true
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
		return s.do(context.Background(), s.newWrite(), 0) // each commit drops old dead items
	}
	return nil
}

// Close commits the writes that wait and closes the lane. On the Store that [Open] returned it
// closes the file and all its lanes. It waits for the commit that runs and, in an application's
// database, for the transaction that the application holds. A second Close does nothing. Items in
// flight are handed out again after the next Open.
//
// If a commit failed and the file has not healed, and does not heal now, Close returns that error
// and closes all the same. What was acknowledged before is not concerned.
func (s *Store) Close() error {
	if s.shut() {
		return nil
	}
	f := s.file
	err := f.Err()
	if err != nil && f.Own() {
		err = s.do(context.Background(), s.newWrite(), 0) // an empty commit heals the file
	}
	if !f.Own() || s.name != format.DefaultLane {
		s.releases.Wait()
		f.Leave(s.name)
		return s.wrap("close", naming(err))
	}
	for _, l := range f.Lanes() {
		l := (*Store)(l.(*lane))
		l.shut()
		l.releases.Wait()
	}
	return s.wrap("close", naming(errors.Join(err, f.Close())))
}

// shut makes later calls return sender.ErrClosed, and wakes the calls of Append that wait for room.
// It reports whether the lane was shut before.
func (s *Store) shut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.closed.Swap(true)
	s.makeRoom()
	return was
}

// Refuse makes Append, AppendNoted and AppendTx return err and store nothing, including calls that
// wait for room. nil makes them store again. A commit that runs is finished.
func (s *Store) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = err
	s.makeRoom()
}

// open returns an error if the lane takes no items, and the channel that is closed when this, or
// its room, may have changed.
func (s *Store) open() (room <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Load() {
		return nil, sender.ErrClosed
	}
	return s.room, s.refused
}

// Attach reserves the lane for one sender until Detach. A second sender gets [ErrLocked], and a
// closed lane is sender.ErrClosed. What an earlier sender left in flight, because a call outlasted
// it, is handed out again; items recorded as Sending stay dead. The store calls wake after a commit
// that may have made an item due; it must not block. See [sender.Exclusive].
func (s *Store) Attach(wake func()) error {
	if s.closed.Load() {
		return s.wrap("attach", sender.ErrClosed)
	}
	if s.attached.Swap(true) {
		return s.wrap("attach", fmt.Errorf("%w: another sender drains it", ErrLocked))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for seq := range s.order.Flights() {
		s.order.Withdraw(seq)
		s.forgetFetched()
	}
	s.publish()
	s.wake = wake
	return nil
}

// Detach ends what Attach began. wake may still be called once by a commit that runs.
func (s *Store) Detach() {
	s.mu.Lock()
	s.wake = nil
	s.mu.Unlock()
	s.attached.Store(false)
}

// FlushGathered commits now the outcomes that wait to share a commit. It does not wait for that
// commit. See [sender.Gatherer].
func (s *Store) FlushGathered() { s.file.FlushGathered() }

// Path returns the path of the file, absolute and with links resolved when Open opened it.
func (s *Store) Path() string { return s.file.Path() }

// FileBytes returns the length of the file in bytes, with what is kept for a full disk, as of the
// last read or commit. It never waits.
func (s *Store) FileBytes() int64 { return s.file.Length() }

// Place names the lane and its file, as errors do.
func (s *Store) Place() string { return fmt.Sprintf("lane %q of %s", s.name, s.file.Path()) }

// Announce writes one line to the log: the file, the lane, whether it was made because nothing was
// there, how many items are pending and dead, until when the lane is paused, and who paused it if
// its operator did. It warns if [Store.Fallback] is not nil. See [sender.Announcer].
func (s *Store) Announce(log *slog.Logger) {
	s.mu.Lock()
	created := s.created
	s.created = false
	s.mu.Unlock()
	c := s.Counts()
	args := []any{"path", s.Path(), "bucket", s.name, "pending", c.Pending, "dead", c.Dead}
	if c.PausedUntil.After(s.clock.now()) {
		args = append(args, "paused_until", c.PausedUntil)
	}
	if p := s.OperatorPause(); p.On(s.clock.now()) {
		args = append(args, "operator_paused_since", p.Since, "operator", p.By)
	}
	if created {
		log.Info("outbox: made a new and empty one, nothing was there", args...)
	} else {
		log.Info("outbox: opened", args...)
	}
	if err := s.Fallback(); err != nil {
		log.Warn("outbox: the file was opened as of an older commit", "err", err)
	}
}

// Fallback returns why one of the two meta pages of the file was unreadable when Open opened it;
// nil: both were readable, or one was never needed. If it is not nil, the store uses the other meta
// page, and the last commit before Open may be missing. After a clean Close that commit stored
// nothing.
func (s *Store) Fallback() error { return s.wrap("open", s.file.Fallback()) }

// Paused returns the end of the pause that the destination asked for. Zero or in the past: there is
// none. It has a monotonic reading, so comparing it with time.Now is safe.
func (s *Store) Paused() time.Time { return s.counts.load().PausedUntil }
