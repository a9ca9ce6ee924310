package outbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
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
