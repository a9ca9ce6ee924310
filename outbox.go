// Package outbox delivers events at least once, across restarts.
//
// An application puts events; Put returns when the event is on disk, in one bbolt file. A
// background sender delivers the events through a [sender.Transport] under a rate limit. The retry
// state of each event is on disk. Retry-After is obeyed exactly, also across restarts, and events
// with the same key keep their order. The sender runs inside the program: there is no server.
//
// Once Put has returned nil, the event is delivered at least once, or it is listed as dead with its
// reason, or it is counted as expired. The destination is never sent more than it allows.
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
// At least once means that a crash can send an event again, under the same ID. The receiver can
// recognise it by that ID. Events with different keys, and events without a key, have no order. One
// process at a time uses the file. An event expires when its turn comes. Put costs two syncs of the
// disk, which concurrent callers, and the events of [Outbox.PutAll], share.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/errtext"
	"github.com/seed8107221f/outbox/internal/lane"
	"github.com/seed8107221f/outbox/internal/lifecycle"
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
	// Header is small and for the transport: a content type, a trace context. At most 64 KiB.
	Header map[string]string
	// NotBefore is the time, by the wall clock, before which the event is not sent, and which gives
	// its place in the order of its key. Zero: as soon as possible. From 1970 to 2262.
	NotBefore time.Time
	// Expires is the time after which the event is no longer sent, but counted as expired. Zero:
	// never. After NotBefore, and 1970 to 2262.
	Expires time.Time
}

// Options are the settings of an [Outbox]. nil and the zero value are fine.
type Options struct {
	Store   store.Options  // of the file; only Open uses it
	Sender  sender.Options // concurrency, timeouts, retries, logging
	Limiter sender.Limiter // nil: no limit until the destination asks for one

	// OnPut is called for each event before it is checked and stored, by the goroutine that puts it
	// and with the context of its call. It may change the event, and must not keep it after done
	// has returned. The map in e.Header and the bytes in e.Payload belong to the caller of Put:
	// change a copy (maps.Clone) and assign that. done, unless nil, is called with what Put
	// returns, also for an event that is refused. For PutBy and PutTx that is before the
	// transaction commits. Neither may block, and panics of both reach the caller of Put. Several
	// goroutines call them at once. nil: no calls.
	OnPut func(ctx context.Context, e *Event) (done func(id uuid.UUID, err error))
}

// A Store is what [New] needs. [store.Store] is one. A store can be written outside this module: it
// needs package sender only, and package sendertest tests it.
//
// Everything else that a store can do is optional, and found by type assertion: [sender.Exclusive],
// [sender.Gatherer], [sender.Flusher], [sender.Refuser], [sender.Lister], [sender.Reviver],
// [sender.Eraser], [sender.Compacter], [sender.Checker], [sender.Fallbacker], [sender.Announcer],
// [sender.Placer], [sender.Browser], [sender.Editor], [sender.Explainer], [sender.Operator],
// [sender.LaneLister], [sender.Pather], [sender.Sizer] and [TxAppender]. Each says what its absence
// means. A method of [Outbox] that needs an absent one returns an [errors.ErrUnsupported] that
// names the type of the store.
type Store interface {
	sender.Queue
	// Append stores items durably, all or none, in their order, and assigns their Seq. When it
	// returns, items and what they hold belong to the caller again. Its errors wrap those of
	// package sender: ErrFull, ErrTooLarge, ErrClosed, ErrStorage.
	Append(ctx context.Context, items ...sender.Item) error
	// Counts returns a snapshot without waiting for the storage, also after the store was closed.
	Counts() sender.Counts
}

// A TxAppender is a [Store] in the application's bbolt database. Without it PutTx is not supported.
type TxAppender interface {
	AppendTx(tx *bbolt.Tx, items ...sender.Item) error
}

// Errors that callers branch on. They arrive wrapped, with operation, place and numbers.
var (
	// From Put, PutAll, PutBy and PutTx. Nothing was stored.
	ErrInvalid  = errors.New("invalid event") // the error names the field, its value and the limit; or the clock is wrong
	ErrTooLarge = sender.ErrTooLarge          // for store.Options.MaxPayload, or for one PutAll
	ErrFull     = sender.ErrFull              // MaxPending, MaxBytes or the disk; also from Revive

	ErrPending  = sender.ErrPending  // from Flush, Drain, Shutdown; the error says how many and why
	ErrNotFound = sender.ErrNotFound // from Find and Explain: there is no event with that ID
	ErrChanged  = sender.ErrChanged  // from Edit: the event is no longer dead, or is damaged; nothing changed

	// From every method that reads or changes the outbox.
	ErrClosed  = sender.ErrClosed  // it is shutting down or closed; nothing was stored
	ErrStorage = sender.ErrStorage // the outcome is unknown, unless the error says that nothing was stored

	// From Open, and from New if the lane is in use; the last two from all methods that read.
	ErrLocked  = store.ErrLocked  // another process, or another outbox, uses the file or the lane
	ErrFormat  = store.ErrFormat  // the file is not an outbox, or a newer version wrote it
	ErrCorrupt = store.ErrCorrupt // the file is an outbox, and it is damaged
	ErrSealed  = store.ErrSealed  // the Sealer cannot open the lane or a record; nothing was changed
)

// An Outbox takes events and delivers them in the background. It is safe for concurrent use.
type Outbox struct {
	store Store
	place string                                               // of the store, for errors; "": not known
	close func() error                                         // closes the store; does nothing if the caller closes it
	onPut func(context.Context, *Event) func(uuid.UUID, error) // nil: none
	lane  *lane.Lane
	life  *lifecycle.Life
}

// Open opens the outbox in the file at path, creates it when there is none, and delivers to t. A
// nil t only stores. Errors of store.Open come wrapped; a bad setting is an error before it opens.
func Open(path string, t sender.Transport, o *Options) (*Outbox, error) {
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(path, &o.Store)
	if err != nil {
		return nil, errtext.Wrap("outbox: open", "", err)
	}
	b, err := New(st, t, o)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	b.close = st.Close
	return b, nil
}

// New starts an outbox over a store that the caller opened, and closes after Shutdown or Close has
// returned: a lane of a file of several, or one in the application's own database. A store can have
// one outbox at a time. Of the options it does not use Store.
func New(st Store, t sender.Transport, o *Options) (*Outbox, error) {
	if st == nil {
		return nil, errors.New("outbox: the store is nil")
	}
	o, err := o.check()
	if err != nil {
		return nil, err
	}
	b := &Outbox{store: st, onPut: o.OnPut, close: func() error { return nil }}
	if p, ok := st.(sender.Placer); ok {
		b.place = p.Place()
	}
	if b.lane, err = lane.Start(st, t, o.Limiter, &o.Sender); err != nil {
		return nil, b.wrap("new", err)
	}
	b.life = lifecycle.New(lifecycle.Steps{
		Refuse: b.lane.Refuse, Stop: b.lane.Stop, Close: func() error { return b.close() },
		Wrap: func(err error) error { return b.wrap("shutdown", err) },
	})
	b.lane.Life = b.life
	return b, nil
}

// Lane opens another lane of the file as an outbox of its own, and creates the lane if there is
// none: with its own transport, limit, order and counts. It is as [Open], except for what concerns
// the file.
//
// Its Close and Shutdown end this lane only; it can be opened again then. Close and Shutdown of b
// end the lanes that b has opened, all of them at the same time and in the same way, and close the
// file last: so one call is enough. ErrLocked: the lane is open. The store of b must be a
// store.Store.
func (b *Outbox) Lane(name string, t sender.Transport, o *Options) (c *Outbox, err error) {
	if o, err = o.check(); err != nil {
		return nil, err
	}
	if err := b.life.Enter(); err != nil {
		return nil, b.wrap("lane", err)
	}
	defer b.life.Leave() // so that the file stays open until then
	err = errtext.With(b.store, func(s *store.Store) error {
		st, err := s.Lane(name, &o.Store)
		if err != nil {
			return err
		}
		if c, err = New(st, t, o); err != nil {
			return errors.Join(err, st.Close())
		}
		c.close = st.Close
		if err := b.life.Adopt(c.life); err != nil {
			return errors.Join(err, c.Close())
		}
		return nil
	})
	if err != nil {
		return nil, b.wrap("lane", err)
	}
	return c, nil
}

// Lanes returns the names of all lanes of the file, open or not.
func (b *Outbox) Lanes() (names []string, err error) {
	err = errtext.With(b.store, func(s sender.LaneLister) (err error) { names, err = s.Lanes(); return err })
	return names, b.wrap("lanes", err)
}

// Path returns the path of the file; "": the store has none.
func (b *Outbox) Path() string {
	if p, ok := b.store.(sender.Pather); ok {
		return p.Path()
	}
	return ""
}

// check returns the options, never nil, or what is wrong with those of sender or limiter.
func (o *Options) check() (*Options, error) {
	if o == nil {
		return &Options{}, nil
	}
	err := o.Sender.Check()
	if c, ok := o.Limiter.(interface{ Check() error }); ok && err == nil {
		err = c.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return o, nil
}

func (b *Outbox) wrap(op string, err error) error {
	if err == nil {
		return nil // a Put need not build the text
	}
	return errtext.Wrap("outbox: "+op, b.place, err)
}

// single holds the memory of one item for each Put that runs.
var single = sync.Pool{New: func() any { return new([1]sender.Item) }}

// events holds the memory of one event for each Put with OnPut that runs.
var events = sync.Pool{New: func() any { return new(Event) }}

// Put stores an event durably and returns its ID. When it returns nil the event is on disk.
//
// ErrInvalid, ErrClosed, ErrTooLarge and ErrFull mean that nothing was stored, and so does the end
// of ctx before the commit began. After ErrStorage, or the end of ctx during the commit, the
// outcome is unknown: the event may have been stored, so a repeated Put should carry the same ID.
// The ID is returned with every error that occurs after it was assigned.
func (b *Outbox) Put(ctx context.Context, e Event) (uuid.UUID, error) {
	return b.PutBy(ctx, e, func(it sender.Item) error {
		one := single.Get().(*[1]sender.Item)
		one[0] = it
		err := b.store.Append(ctx, one[:]...)
		one[0] = sender.Item{}
		single.Put(one)
		return err
	})
}

// PutAll stores events, all or none, with one commit, and returns their IDs in order. Their
// payloads, kinds, keys and headers come to at most 64 MiB. Otherwise it is like Put.
func (b *Outbox) PutAll(ctx context.Context, es ...Event) ([]uuid.UUID, error) {
	return b.PutAllBy(ctx, es, func(items ...sender.Item) error { return b.store.Append(ctx, items...) })
}

// PutBy validates and completes an event and passes it to the caller's function, which stores it:
// for a store whose transactions are not bbolt's. The event is put when that transaction commits:
//
//	id, err := b.PutBy(ctx, e, func(it sender.Item) error { return lane.AppendTx(ctx, tx, it) })
//
// It is not called for an invalid event, nor after Shutdown or Close, and must not keep what the
// item holds. Its error is returned wrapped, with the ID. ctx is for OnPut only.
func (b *Outbox) PutBy(ctx context.Context, e Event, store func(sender.Item) error) (uuid.UUID, error) {
	if b.onPut == nil {
		return b.put(e, store)
	}
	changed := events.Get().(*Event) // e itself stays off the heap
	*changed = e
	done := b.onPut(ctx, changed)
	id, err := b.put(*changed, store)
	if done != nil {
		done(id, err)
	}
	*changed = Event{}
	events.Put(changed)
	return id, err
}

func (b *Outbox) put(e Event, store func(sender.Item) error) (uuid.UUID, error) {
	it, err := e.item(time.Now())
	if err == nil {
		err = b.life.Enter()
	}
	if err != nil {
		return it.ID, b.wrap("put", err)
	}
	defer b.life.Leave()
	err = store(it)
	b.lane.Wake()
	return it.ID, b.wrap("put", err)
}

// PutAllBy is PutBy for several events, which the caller's function stores together: all or none.
func (b *Outbox) PutAllBy(ctx context.Context, es []Event, store func(...sender.Item) error) ([]uuid.UUID, error) {
	if b.onPut == nil {
		return b.putAll(es, store)
	}
	es = slices.Clone(es)
	done := make([]func(uuid.UUID, error), len(es))
	for i := range es {
		done[i] = b.onPut(ctx, &es[i])
	}
	ids, err := b.putAll(es, store)
	for i, done := range done {
		if done != nil {
			done(ids[i], err)
		}
	}
	return ids, err
}

func (b *Outbox) putAll(es []Event, store func(...sender.Item) error) ([]uuid.UUID, error) {
	const maxPutAll = 64 << 20 // bytes
	items := make([]sender.Item, len(es))
	ids := make([]uuid.UUID, len(es))
	now, size := time.Now(), 0
	for i := range es {
		it, err := es[i].item(now)
		if err != nil {
			return ids, b.wrap("put", fmt.Errorf("event %d of %d: %w", i+1, len(es), err))
		}
		items[i], ids[i] = it, it.ID
		size += it.Size()
	}
	if size > maxPutAll {
		return ids, b.wrap("put", fmt.Errorf("%w: %d events of %d bytes, at most %d in one call", ErrTooLarge, len(es), size, maxPutAll))
	}
	if err := b.life.Enter(); err != nil {
		return ids, b.wrap("put", err)
	}
	defer b.life.Leave()
	err := store(items...)
	b.lane.Wake()
	return ids, b.wrap("put", err)
}

// PutTx is PutBy for the application's own bbolt transaction: the event is put when tx commits, and
// the sender is woken then. The outbox must be over a lane that store.In opened in the database of
// tx. PutTx never blocks: a full outbox is ErrFull at once.
func (b *Outbox) PutTx(ctx context.Context, tx *bbolt.Tx, e Event) (uuid.UUID, error) {
	return b.PutBy(ctx, e, func(it sender.Item) error {
		return errtext.With(b.store, func(s TxAppender) error { return s.AppendTx(tx, it) })
	})
}

// item checks an event and returns what the store keeps of it.
func (e *Event) item(now time.Time) (sender.Item, error) {
	it := sender.Item{
		ID: e.ID, Kind: e.Kind, Key: e.Key, Header: e.Header, Payload: e.Payload,
		Created: now, Due: e.NotBefore, Expires: e.Expires,
	}
	err := it.Check()
	if err != nil {
		return sender.Item{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if it.ID == uuid.Nil {
		it.ID, err = uuid.NewV7()
	}
	return it, err
}

// Pending lists the events not yet delivered. The loop may take its time: see store.Store.Pending.
func (b *Outbox) Pending() iter.Seq2[sender.Item, error] {
	return b.list("pending", sender.Lister.Pending)
}

// Dead lists the events that failed for good, with the reason in LastErr and the time in FailedAt.
func (b *Outbox) Dead() iter.Seq2[sender.Item, error] { return b.list("dead", sender.Lister.Dead) }

func (b *Outbox) list(op string, from func(sender.Lister) iter.Seq2[sender.Item, error]) iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) {
		if err := errtext.With(b.store, func(s sender.Lister) error {
			for it, err := range from(s) {
				if !yield(it, b.wrap(op, err)) {
					break
				}
			}
			return nil
		}); err != nil {
			yield(sender.Item{}, b.wrap(op, err))
		}
	}
}

// Find returns the first event with that ID, pending or dead, or ErrNotFound. It reads all events.
func (b *Outbox) Find(ctx context.Context, id uuid.UUID) (it sender.Item, err error) {
	err = errtext.With(b.store, func(s sender.Lister) (err error) { it, err = s.Find(ctx, id); return err })
	return it, b.wrap("find", err)
}

// List returns one page of the events in a state. A search looks at so many records at most as the
// query says, and Page.Next goes on from there: see [sender.Query].
func (b *Outbox) List(ctx context.Context, q sender.Query) (p sender.Page, err error) {
	err = errtext.With(b.store, func(s sender.Browser) (err error) { p, err = s.List(ctx, q); return err })
	return p, b.wrap("list", err)
}

// Explain says what keeps an event from being sent now. seq is where it was last seen; 0: all
// events are looked at. ErrNotFound: there is no such event; it has been delivered, perhaps.
func (b *Outbox) Explain(ctx context.Context, id uuid.UUID, seq uint64) (Explanation, error) {
	e, err := b.lane.Explain(ctx, id, seq)
	return e, b.wrap("explain", err)
}

// Revive sends dead events again: they take a new place at the end, in their order, with the same
// ID and no attempts. It returns how many; those no longer dead are skipped. ErrFull: at
// MaxPending.
func (b *Outbox) Revive(ctx context.Context, items ...sender.Item) (n int, err error) {
	err = errtext.With(b.store, func(s sender.Reviver) (err error) { n, err = s.Revive(ctx, items...); return err })
	return n, b.wrap("revive", err)
}

// ReviveAll revives the dead events that match selects; nil: all. It works in commits of up to 500
// events or about 4 MiB, and returns how many it revived, also with an error. The end of ctx ends it
// between two commits. It revives no event twice; one that was pending and dies meanwhile may be
// revived or not. One that cannot be revived, because its record is damaged, is passed over, and the
// error says so in the end. match must not change events.
func (b *Outbox) ReviveAll(ctx context.Context, match func(*sender.Item) bool) (n int, err error) {
	n, err = b.lane.ReviveAll(ctx, match)
	return n, b.wrap("revive", err)
}

// RunNow makes failed and scheduled events due now, and returns how many; it skips all others. It
// charges nothing, ends no pause, and keeps the order of each key.
func (b *Outbox) RunNow(ctx context.Context, items ...sender.Item) (n int, err error) {
	err = errtext.With(b.store, func(s sender.Editor) (err error) { n, err = s.RunNow(ctx, items...); return err })
	return n, b.wrap("run now", err)
}

// Edit replaces payload and header of a dead event, which ID and Seq of it name; a nil header keeps
// the old one. What was there is gone. ErrChanged: it is no longer dead, it is damaged, or it.Payload
// is not nil and it was edited since it was read. For the new contents the errors of Put apply.
func (b *Outbox) Edit(ctx context.Context, it sender.Item, payload []byte, header map[string]string) error {
	return b.wrap("edit", errtext.With(b.store, func(s sender.Editor) error { return s.Edit(ctx, it, payload, header) }))
}

// Drop removes events, pending or dead, and returns how many. One in flight may still arrive. ID
// and Seq name an event; with Seq 0 the ID does, as in Find.
func (b *Outbox) Drop(ctx context.Context, items ...sender.Item) (n int, err error) {
	err = errtext.With(b.store, func(s sender.Reviver) (err error) { n, err = s.Drop(ctx, items...); return err })
	return n, b.wrap("drop", err)
}

// Erase drops every event with that key and clears the file of what these and delivered events
// held: for requests to delete personal data. It returns how many it dropped. An event in flight
// may still arrive. After an error, repeat the call. See store.Store.Erase.
func (b *Outbox) Erase(ctx context.Context, key string) (n int, err error) {
	err = errtext.With(b.store, func(s sender.Eraser) (err error) { n, err = s.Erase(ctx, key); return err })
	return n, b.wrap("erase", err)
}

// Check reads the whole outbox and verifies that every event is accounted for.
func (b *Outbox) Check(ctx context.Context) error {
	return b.wrap("check", errtext.With(b.store, func(s sender.Checker) error { return s.Check(ctx) }))
}

// Compact makes the file as small as its contents, as happens after a large backlog. Put waits for
// it: about two seconds for a million events. See store.Store.Compact.
func (b *Outbox) Compact(ctx context.Context) error {
	return b.wrap("compact", errtext.With(b.store, func(s sender.Compacter) error { return s.Compact(ctx) }))
}

// Pause starts no request until p.Until, or until Resume if that is zero, and keeps this across
// restarts. When it returns nil no request starts any more, except one that has begun to. Requests
// in flight end, and Put goes on. A later call replaces an earlier one. By and Reason have at most
// 64 and 200 bytes; Since is set here.
func (b *Outbox) Pause(ctx context.Context, p sender.Pause) error {
	return b.wrap("pause", errtext.With(b.store, func(s sender.Operator) error { return s.Pause(ctx, p) }))
}

// Resume ends what Pause began. A pause that the destination asked for goes on. Without a pause it
// does nothing.
func (b *Outbox) Resume(ctx context.Context) error {
	return b.wrap("resume", errtext.With(b.store, func(s sender.Operator) error { return s.Resume(ctx) }))
}

// ClearThrottle ends a pause that the destination asked for, before its time, also for others that
// share the Limiter: the cure for an absurd Retry-After. One request goes first. That the word of
// the destination is not kept is then the caller's doing. The event whose answer ordered the pause
// may wait longer, for its own next try: RunNow makes it due. Without such a pause it does nothing.
func (b *Outbox) ClearThrottle(ctx context.Context) error {
	return b.wrap("clear throttle", b.lane.ClearThrottle(ctx))
}

// SetConcurrency changes how many requests may be in flight, until the outbox ends; 0 means 10. It
// is not supported without a transport. ErrClosed after Shutdown or Close.
func (b *Outbox) SetConcurrency(n int) error {
	err := b.life.Enter()
	if err == nil {
		defer b.life.Leave()
		err = b.lane.SetConcurrency(n)
	}
	return b.wrap("set concurrency", err)
}

// Observe has fn told every outcome from now on, by the rules of sender.Options.OnOutcome, until
// stop: see sender.Sender.Observe. Without a transport there are none.
func (b *Outbox) Observe(fn func(sender.Outcome)) (stop func()) { return b.lane.Observe(fn) }

// Flush waits until every event put before the call that could be sent has been sent, or has been
// tried once since; until then each outcome is recorded at once. nil: none of them remains.
// Otherwise the error wraps ErrPending and says how many remain and why (scheduled, retrying,
// paused by whom, held, no transport), and wraps the error of ctx if it ended. It returns at once
// when the lane is silent beyond the deadline of ctx, and with ErrClosed after Shutdown or Close.
func (b *Outbox) Flush(ctx context.Context) error {
	if err := b.life.Enter(); err != nil {
		return b.wrap("flush", err)
	}
	b.life.Leave()
	return b.wrap("flush", b.lane.Flush(ctx, (*sender.Sender).Flush))
}

// Drain waits until nothing is pending: through retries, pauses and outages, until the time of
// scheduled events, and also for what is put during the call. It makes nothing go sooner. The dead
// do not count. When ctx ends or the outbox does, and at once without a transport, the error wraps
// ErrPending and the cause, and says how many remain and why. After Shutdown or Close it is
// ErrClosed.
func (b *Outbox) Drain(ctx context.Context) error {
	if ctx == nil {
		return b.wrap("drain", errors.New("the context is nil"))
	}
	if err := b.life.Enter(); err != nil {
		return b.wrap("drain", err)
	}
	b.life.Leave()
	return b.wrap("drain", b.lane.Drain(ctx))
}

// Shutdown refuses new events, flushes under ctx, lets requests in flight finish and closes the
// file. It starts no request that the end of ctx would cut off, judged by how long requests lately
// took, and returns as soon as nothing more can be done. Requests in flight when ctx ends are cut
// off: their events are sent again later, or are dead with AtMostOnce. ErrPending: events remain.
//
// It returns at most one second after ctx ends, even when the transport or the disk hangs; the
// error says so, and what hangs ends in the background. So give it 8 seconds where SIGKILL follows
// SIGTERM after 10. A second call waits for the first and returns the same. A nil ctx is an error.
func (b *Outbox) Shutdown(ctx context.Context) error { return b.life.End(ctx, true) }

// Close is Shutdown with five seconds, without the flush: requests in flight may finish, and no
// other starts. It returns within six seconds.
func (b *Outbox) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.life.End(ctx, false)
}

// Stats is a snapshot of an outbox: how it is in one word, what it holds, what keeps it from
// sending and at what pace it may send. Its fields are those of [sender.Stats].
type Stats = sender.Stats

// Stats returns a snapshot in constant time, without waiting for the disk; also after Close.
func (b *Outbox) Stats() Stats { return b.lane.Stats() }

// Health returns nil unless the lane can do its work only after a restart of the program, or never:
// it was closed, its disk fails, its file is gone or damaged. What a restart does not end is no
// error: an outage of the destination, a pause, a throttle, dead events, a full disk. The store
// tries to heal by itself, so a probe should ask several times. It waits for no commit, but asks
// the file system whether the file is there. See docs/operations.md, Probes.
func (b *Outbox) Health() error { return b.wrap("health", b.lane.Health()) }

// An Explanation says what keeps an event from being sent: see [sender.Explanation].
type Explanation = sender.Explanation

// A Reason is one of the things that hold an event: see [sender.Reason].
type Reason = sender.Reason
