// Package outbox delivers events at least once, across restarts.
//
// An application puts events; Put returns when the event is on disk, in one bbolt file. A background
// sender drains the file into a [sender.Transport] under a rate limit, with the retry state of each
// event kept on disk, Retry-After obeyed exactly and across restarts, and the events of one key kept
// in order. It runs inside the program: there is no server.
//
// Once Put has returned nil, the event is delivered at least once, or found among the dead with its
// reason, or counted as expired because its owner gave it an end; and the destination is never sent
// more than it allows.
//
//	b, err := outbox.Open("events.db", transport, &outbox.Options{
//		Limiter: limiter.Within(100, time.Second),
//	})
//	if err != nil {
//		return err
//	}
//	defer b.Close()
//	id, err := b.Put(ctx, outbox.Event{Kind: "identify", Key: customer, Payload: body})
//
// # Caveats
//
// At least once means that a crash can send an event again, under the same ID; let the receiver
// tell by it. There is no order between different keys, and none among events without a key. One
// process at a time has the file. An event's Expires is noticed when its turn comes. Put costs two
// syncs of the disk, which concurrent callers share: many goroutines, or [Outbox.PutAll], are fast
// where a lone caller is not.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// An Event is what the application asks to have delivered.
type Event struct {
	// ID names the event to the receiver, on every attempt. Zero: Put assigns a UUIDv7. Two events
	// with the same ID are two events, and both are delivered.
	ID uuid.UUID
	// Kind says what happened; transports route on it. At most 1 KiB.
	Kind string
	// Key orders: events of one key are delivered one at a time, in the order of their Put. Empty:
	// no order. At most 1 KiB.
	Key string
	// Payload is opaque, delivered byte for byte, and not retained after Put has returned. At most
	// store.Options.MaxPayload; may be empty.
	Payload []byte
	// Header is small and for the transport: a content type, a trace context. At most 64 KiB in all.
	Header map[string]string
	// NotBefore is the moment, by the wall clock, before which the event is not sent; its place in
	// the order of its key is then that moment, not its Put. Zero: as soon as possible. 1970 to 2262.
	NotBefore time.Time
	// Expires is the moment after which the event is no longer sent, but counted as expired. Zero:
	// never. After NotBefore, and 1970 to 2262.
	Expires time.Time
}

// Options are the settings of an [Outbox]. nil and the zero value are fine.
type Options struct {
	Store   store.Options  // of the file; only Open looks at it
	Sender  sender.Options // concurrency, timeouts, retries, logging
	Limiter sender.Limiter // nil: no limit until the destination asks for one
}

// A Store is what [New] needs. [store.Store] has it.
type Store interface {
	sender.Queue
	sender.Marker
	sender.Exclusive
	Append(ctx context.Context, items ...sender.Item) error // items is the caller's again when it returns
	AppendTx(tx *bbolt.Tx, items ...sender.Item) error
	Refuse(err error)
	Pending() iter.Seq2[sender.Item, error]
	Dead() iter.Seq2[sender.Item, error]
	Find(ctx context.Context, id uuid.UUID) (sender.Item, error)
	Revive(ctx context.Context, items ...sender.Item) error
	Drop(ctx context.Context, items ...sender.Item) error
	Erase(ctx context.Context, key string) (n int, err error)
	Compact(ctx context.Context) error
	Fallback() error
	Remains(mark uint64) (bool, error)
	Counts() sender.Counts
	Check(ctx context.Context) error
	Close() error
}

// Errors that callers branch on. They arrive wrapped, with the operation, the place and the numbers.
// Each is the error of that name in the package that defines it.
var (
	// ErrInvalid, from Put, PutAll and PutTx: a field of the event is not acceptable. The error names the
	// field, its length and the limit. Nothing was stored.
	ErrInvalid = errors.New("invalid event")
	// ErrTooLarge, from Put, PutAll and PutTx: the payload is above store.Options.MaxPayload, or the events
	// of one PutAll are too large together. Nothing was stored.
	ErrTooLarge = sender.ErrTooLarge
	// ErrFull, from Put, PutAll, PutTx and Revive: the outbox is at MaxPending or MaxBytes, or the disk is
	// full. Nothing was stored.
	ErrFull = sender.ErrFull
	// ErrClosed, from every method that reads or changes the outbox: it is shutting down or closed. Nothing
	// was stored.
	ErrClosed = sender.ErrClosed
	// ErrStorage, from every method that reads or changes the outbox: the storage failed. Unless the error
	// says that nothing was stored, the outcome is unknown.
	ErrStorage = sender.ErrStorage
	// ErrNotFound, from Find: there is no event of that ID.
	ErrNotFound = sender.ErrNotFound
	// ErrPending, from Flush and Shutdown: events remain. The error says how many and why.
	ErrPending = errors.New("events remain")

	// ErrLocked, from Open and New: another process, or another outbox of this one, uses the file or the lane.
	ErrLocked = store.ErrLocked
	// ErrFormat, from Open: the file is not an outbox, or a newer version wrote it.
	ErrFormat = store.ErrFormat
	// ErrCorrupt, from Open and from every method that reads: the file is an outbox, and it is damaged.
	ErrCorrupt = store.ErrCorrupt
	// ErrSealed, from Open and from every method that reads: a lane or a record is sealed, and the Sealer
	// cannot open it. Nothing was changed.
	ErrSealed = store.ErrSealed
)

// An Outbox takes events and delivers them in the background. All methods are safe for concurrent use.
type Outbox struct {
	store   Store
	own     bool               // the store is closed with the outbox
	sender  *sender.Sender     // nil: store only
	limiter sender.Limiter     // nil: none
	cancel  context.CancelFunc // ends Run
	ran     chan struct{}      // closed when Run has returned
	runErr  error              // what it returned; read after ran is closed

	mu      sync.Mutex // a leaf; guards what follows
	closing bool
	puts    int           // calls between enter and leave
	idle    chan struct{} // closed when closing and puts is 0

	done     chan struct{} // closed when everything has ended
	closeErr error         // read after done is closed
}

// Open opens the outbox in the file at path, creates it when there is none, and starts to deliver to
// t. A nil t stores and sends nothing. The errors of store.Open come wrapped; a setting that is not
// acceptable is an error before the file is touched.
func Open(path string, t sender.Transport, o *Options) (*Outbox, error) {
	if o == nil {
		o = &Options{}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	st, err := store.Open(path, &o.Store)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	b, err := New(st, t, o)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	b.own = true
	return b, nil
}

// New starts an outbox over a store that the caller opened, and closes after Shutdown or Close has
// returned: a lane of a file of several, or one in the application's own database. A store can have
// one outbox at a time. Of the options it looks at Sender and Limiter.
func New(st Store, t sender.Transport, o *Options) (*Outbox, error) {
	if o == nil {
		o = &Options{}
	}
	if st == nil {
		return nil, errors.New("outbox: the store is nil")
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := st.Fallback(); err != nil && o.Sender.Logger != nil {
		o.Sender.Logger.Warn("outbox: the file was opened as of an older commit", "err", err)
	}
	b := &Outbox{store: st, limiter: o.Limiter, cancel: func() {}, ran: make(chan struct{}), idle: make(chan struct{}), done: make(chan struct{})}
	if t == nil {
		if err := st.Attach(nil); err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
		st.Refuse(nil) // what an outbox before this one may have left
		close(b.ran)
		return b, nil
	}
	s, err := sender.New(st, t, o.Limiter, &o.Sender)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	st.Refuse(nil)
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	b.sender = s
	go func() {
		defer close(b.ran)
		b.runErr = s.Run(ctx)
	}()
	return b, nil
}

// check says what is wrong with the settings of the sender and, if it can tell, of the limiter.
func (o *Options) check() error {
	if err := o.Sender.Check(); err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	if c, ok := o.Limiter.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return fmt.Errorf("outbox: %w", err)
		}
	}
	return nil
}

// Put stores an event durably and returns its ID. When it returns nil the event is on disk.
//
// ErrInvalid, ErrClosed, sender.ErrTooLarge and sender.ErrFull mean that nothing was stored, as does an
// end of ctx before the commit began. sender.ErrStorage, or an end of ctx during the commit, leaves the
// outcome unknown: the event may have been stored, so a repetition should carry the same ID. The ID
// is returned with every error that follows its making.
func (b *Outbox) Put(ctx context.Context, e Event) (uuid.UUID, error) {
	it, err := e.item(time.Now())
	if err != nil {
		return uuid.Nil, wrap("put", err)
	}
	if err := b.enter(); err != nil {
		return it.ID, wrap("put", err)
	}
	defer b.leave()
	one := single.Get().(*[1]sender.Item)
	one[0] = it
	err = b.store.Append(ctx, one[:]...)
	one[0] = sender.Item{}
	single.Put(one)
	return it.ID, wrap("put", err)
}

// single holds the memory of one item for each Put that runs.
var single = sync.Pool{New: func() any { return new([1]sender.Item) }}

// PutAll stores events, all or none, with one commit, and returns their IDs in order. Their payloads,
// kinds, keys and headers come to at most 64 MiB. Otherwise it is as Put.
func (b *Outbox) PutAll(ctx context.Context, es ...Event) ([]uuid.UUID, error) {
	items := make([]sender.Item, len(es))
	ids := make([]uuid.UUID, len(es))
	now, size := time.Now(), 0
	for i := range es {
		var err error
		if items[i], err = es[i].item(now); err != nil {
			return nil, fmt.Errorf("outbox: put: event %d of %d: %w", i+1, len(es), err)
		}
		ids[i] = items[i].ID
		size += len(es[i].Payload) + len(es[i].Kind) + len(es[i].Key)
		for name, value := range es[i].Header {
			size += len(name) + len(value)
		}
	}
	if size > maxPutAll {
		return nil, fmt.Errorf("outbox: put: %w: %d events of %d bytes, at most %d in one call", sender.ErrTooLarge, len(es), size, maxPutAll)
	}
	if err := b.enter(); err != nil {
		return ids, wrap("put", err)
	}
	defer b.leave()
	return ids, wrap("put", b.store.Append(ctx, items...))
}

// PutTx stores an event as part of the application's own bbolt transaction: it is put when that
// commits, and the sender is woken then. For an outbox made by [New] over a lane that store.In opened
// in the database of tx. It never blocks: a full outbox is sender.ErrFull at once. A transaction that
// is read-only, has ended, or is of another database is an error.
func (b *Outbox) PutTx(tx *bbolt.Tx, e Event) (uuid.UUID, error) {
	it, err := e.item(time.Now())
	if err != nil {
		return uuid.Nil, wrap("put", err)
	}
	if err := b.enter(); err != nil {
		return it.ID, wrap("put", err)
	}
	defer b.leave()
	return it.ID, wrap("put", b.store.AppendTx(tx, it))
}

const (
	maxName   = 1 << 10
	maxHeader = 64 << 10
	maxPutAll = 64 << 20
)

// item checks an event and makes of it what the queue stores.
func (e *Event) item(now time.Time) (sender.Item, error) {
	header := 0
	for name, value := range e.Header {
		header += len(name) + len(value)
	}
	for _, f := range [...]struct {
		name   string
		n, max int
	}{{"Kind", len(e.Kind), maxName}, {"Key", len(e.Key), maxName}, {"Header", header, maxHeader}} {
		if f.n > f.max {
			return sender.Item{}, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrInvalid, f.name, f.n, f.max)
		}
	}
	for _, f := range [...]struct {
		name string
		t    time.Time
	}{{"NotBefore", e.NotBefore}, {"Expires", e.Expires}} {
		if !f.t.IsZero() && (f.t.Unix() <= 0 || !time.Unix(0, f.t.UnixNano()).Equal(f.t)) {
			return sender.Item{}, fmt.Errorf("%w: %s is %v, after 1970-01-01 and up to 2262-04-11 expected", ErrInvalid, f.name, f.t)
		}
	}
	if !e.Expires.IsZero() && !e.Expires.After(e.NotBefore) {
		return sender.Item{}, fmt.Errorf("%w: Expires, %v, is not after NotBefore, %v", ErrInvalid, e.Expires, e.NotBefore)
	}
	id := e.ID
	if id == uuid.Nil {
		var err error
		if id, err = uuid.NewV7(); err != nil {
			return sender.Item{}, fmt.Errorf("outbox: making an ID: %w", err)
		}
	}
	return sender.Item{
		ID: id, Kind: e.Kind, Key: e.Key, Header: e.Header, Payload: e.Payload,
		Created: now, Due: e.NotBefore, Expires: e.Expires,
	}, nil
}

// enter counts a call that may store something, unless the door is closed.
func (b *Outbox) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return ErrClosed
	}
	b.puts++
	return nil
}

func (b *Outbox) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.puts--; b.puts == 0 && b.closing {
		close(b.idle)
	}
}

// wrap gives an error its operation. Of a store's error it keeps the place and the cause, so that each is
// said once.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var at *sender.StoreError
	if errors.As(err, &at) {
		return &sender.StoreError{Op: "outbox: " + op, Place: at.Place, Err: at.Err}
	}
	return fmt.Errorf("outbox: %s: %w", op, err)
}

// Pending lists the events not yet delivered; see store.Store.Pending. The loop may take its time:
// no transaction is open while its body runs.
func (b *Outbox) Pending() iter.Seq2[sender.Item, error] { return b.store.Pending() }

// Dead lists the events given up, with the reason in LastErr and the time in Failed.
func (b *Outbox) Dead() iter.Seq2[sender.Item, error] { return b.store.Dead() }

// Find returns the first event with that ID, pending or dead, or sender.ErrNotFound. It scans all
// events: seconds where there are millions.
func (b *Outbox) Find(ctx context.Context, id uuid.UUID) (sender.Item, error) {
	return b.store.Find(ctx, id)
}

// Revive has dead events sent again: they take a new place at the end, with the same ID and no
// attempts. Those no longer dead are passed over. sender.ErrFull when the outbox is at MaxPending.
func (b *Outbox) Revive(ctx context.Context, items ...sender.Item) error {
	return wrap("revive", b.store.Revive(ctx, items...))
}

// Drop gives events up, pending or dead: they are counted as dropped and never sent again; one that
// is in flight may yet arrive. Those that are gone are passed over.
func (b *Outbox) Drop(ctx context.Context, items ...sender.Item) error {
	return wrap("drop", b.store.Drop(ctx, items...))
}

// Erase gives up every event with that key, pending or dead, and then clears the file of what they and
// those delivered before held: for requests to delete what is known of a person. It returns how many it
// removed, which are counted as dropped. One in flight may yet arrive. After an error the call is to be
// repeated. See store.Store.Erase.
func (b *Outbox) Erase(ctx context.Context, key string) (n int, err error) {
	n, err = b.store.Erase(ctx, key)
	return n, wrap("erase", err)
}

// Check reads the whole outbox and proves that every event is accounted for; see store.Store.Check.
func (b *Outbox) Check(ctx context.Context) error { return b.store.Check(ctx) }

// Compact makes the file as small as what is in it, which happens by itself when a large backlog has been
// delivered. Put waits meanwhile: some two seconds for a million events. See store.Store.Compact.
func (b *Outbox) Compact(ctx context.Context) error { return wrap("compact", b.store.Compact(ctx)) }

// Flush waits until every event put before the call that could be sent has been sent, or has been
// tried once since; what is done meanwhile is recorded at once. nil: none of them remains. Otherwise
// the error wraps ErrPending and says how many remain and why (scheduled, retrying, paused, held, no
// transport), and wraps the error of ctx if it ended. It returns at once when a pause outlasts the
// deadline of ctx, and with ErrClosed after Shutdown or Close.
func (b *Outbox) Flush(ctx context.Context) error {
	if err := b.enter(); err != nil {
		return wrap("flush", err)
	}
	b.leave()
	return b.flush(ctx)
}

func (b *Outbox) flush(ctx context.Context) error {
	var cause error
	remains := false
	mark, err := b.store.Mark(ctx, time.Now())
	if err == nil && b.sender != nil {
		cause = b.sender.Flush(ctx)
	}
	if err == nil {
		remains, err = b.store.Remains(mark)
	}
	if errors.Is(err, sender.ErrClosed) {
		return fmt.Errorf("outbox: flush: %w before the flush was complete", ErrClosed)
	}
	if err != nil {
		return fmt.Errorf("outbox: flush: %w", errors.Join(err, cause))
	}
	if !remains {
		return nil
	}
	why := b.Stats().why(b.sender == nil)
	if cause != nil {
		return fmt.Errorf("outbox: flush: %w: %s: %w", ErrPending, why, cause)
	}
	return fmt.Errorf("outbox: flush: %w: %s", ErrPending, why)
}

// why says what the pending events wait for.
func (s Stats) why(storeOnly bool) string {
	var parts []string
	for _, c := range [...]struct {
		n    int
		what string
	}{{s.Ready, "ready"}, {s.Scheduled, "scheduled"}, {s.Retrying, "retrying"}, {s.InLine, "in line behind their key"}, {s.InFlight, "in flight"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if storeOnly {
		parts = append(parts, "no transport")
	}
	if s.PausedUntil.After(time.Now()) {
		parts = append(parts, "paused until "+s.PausedUntil.Format(time.RFC3339))
	}
	if s.Held != "" {
		parts = append(parts, "held: "+s.Held)
	}
	return fmt.Sprintf("%d pending (%s)", s.Pending, strings.Join(parts, ", "))
}

// Shutdown refuses new events, flushes under ctx, stops the sender, records what it did and closes
// the file. What ctx cuts off stays on disk for the next start: then the error wraps ErrPending. It
// returns within ctx plus one second, also when the transport hangs or the disk does; an error says
// so, and what hangs ends by itself. A second call waits for the first and returns what it returned.
func (b *Outbox) Shutdown(ctx context.Context) error { return b.stop(ctx, true) }

// Close is Shutdown without the flush. It returns within six seconds.
func (b *Outbox) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.stop(ctx, false)
}

func (b *Outbox) stop(ctx context.Context, flush bool) error {
	b.mu.Lock()
	first := !b.closing
	b.closing = true
	if first && b.puts == 0 {
		close(b.idle)
	}
	b.mu.Unlock()
	if first {
		b.store.Refuse(ErrClosed)
		go b.end(ctx, flush)
	}
	select {
	case <-b.done:
		return b.closeErr
	case <-ctx.Done():
	}
	select {
	case <-b.done:
		return b.closeErr
	case <-time.After(time.Second):
		return fmt.Errorf("outbox: shutdown is still under way, what is not delivered stays on disk: %w", context.Cause(ctx))
	}
}

// end takes the outbox down, step by step; only waiting for calls and the flush are cut off by ctx.
func (b *Outbox) end(ctx context.Context, flush bool) {
	defer close(b.done)
	select {
	case <-b.idle:
	case <-ctx.Done():
	}
	var flushErr error
	if flush {
		flushErr = b.flush(ctx)
	}
	b.cancel()
	<-b.ran
	if b.sender == nil {
		b.store.Detach()
	}
	var closeErr error
	if b.own {
		closeErr = b.store.Close()
	}
	b.closeErr = errors.Join(flushErr, wrap("shutdown", b.runErr), wrap("shutdown", closeErr))
}

// Stats is a snapshot of an [Outbox].
type Stats struct {
	// Pending counts the events not yet delivered, dead, expired or dropped. The next five add up to
	// it, but for events dropped while in line or in flight, which stay there until they are met or settled.
	Pending   int
	Ready     int   // could be sent now
	Scheduled int   // NotBefore has not come
	Retrying  int   // failed, waiting for the next try
	InLine    int   // met behind an earlier event of their key, waiting for it
	InFlight  int   // handed to the transport, or its answer not yet recorded
	Dead      int   // given up; what is being sent at most once is in flight until its answer is known
	Abandoned int   // calls into a transport that ignores its context
	Bytes     int64 // of pending payloads

	Oldest      time.Time // Created of the first event that could be sent; zero: none
	PausedUntil time.Time // the destination asked for silence; zero: no pause
	Held        string    // why the lane does not move (destination unavailable, disk failed); "": it does
	HeldSince   time.Time // zero unless Held
	Rate        float64   // requests per second now allowed; below the setting after a 429; 0: no limit
	Fallback    string    // why the file was opened as of the commit before its newest one; "": it was not

	Put, Delivered, Expired, Dropped uint64 // since the file was made: the ledger
}

// Stats returns a snapshot in constant time, without waiting for the disk; also after Close.
func (b *Outbox) Stats() Stats {
	c := b.store.Counts()
	s := Stats{
		Pending: c.Pending, Ready: c.Ready, Scheduled: c.Scheduled, Retrying: c.Retrying, InLine: c.InLine,
		InFlight: c.InFlight, Dead: c.Dead, Bytes: c.Bytes, Oldest: c.Oldest,
		Put: c.Put, Delivered: c.Delivered, Expired: c.Expired, Dropped: c.Dropped,
	}
	if c.PausedUntil.After(time.Now()) {
		s.PausedUntil = c.PausedUntil
	}
	if b.sender != nil {
		st := b.sender.Status()
		s.Abandoned, s.Held, s.HeldSince = st.Abandoned, st.Held, st.HeldSince
	}
	if c.Err != nil && s.Held == "" {
		s.Held = c.Err.Error()
	}
	if b.limiter != nil {
		s.Rate = b.limiter.Rate()
	}
	if err := b.store.Fallback(); err != nil {
		s.Fallback = err.Error()
	}
	return s
}
