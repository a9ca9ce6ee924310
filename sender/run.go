package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

const maxConcurrency = 1 << 16

// Options adjust a [Sender]. A nil *Options and the zero value are fine.
type Options struct {
	// Concurrency is how many requests may be in flight; 0 means 10, 65536 is the most.
	Concurrency int
	// Timeout is how long one request may take, by its context; 0 means 30s. More than 365 days are
	// cut to that.
	Timeout time.Duration
	// MaxAttempts is how many failures may be charged to an item before it is dead; 0 means 20;
	// negative: no limit.
	MaxAttempts int
	// Backoff says how long an item waits after its attempt-th failure, counted from 1. Less than
	// 10ms is raised to that, more than 365 days cut. It may be called from several goroutines at
	// once. If it panics the default is used, and the panic logged once. nil means
	// Exponential(time.Second, time.Minute).
	Backoff func(attempt int) time.Duration
	// AtMostOnce is for destinations where a second delivery harms, as that of an email does. Before
	// each request a commit of its own records its items as dead, "sent, answer unknown", and the
	// answer takes that back. Success, and the marks ([Permanent], [Later], [Throttled],
	// [Unavailable], [Split]: nothing was accepted) mean what they always mean; any other error, a
	// timeout and the end of Run leave the items among the dead, as a crash does, for a person to
	// decide. So a transport must mark an error only if nothing can have been accepted.
	//
	// The price: each request waits for its commit, which requests in flight share, and for a second
	// token if that took more than 10ms. The commit may take as long as Timeout, and counts for
	// Status.Abandoned.
	AtMostOnce bool
	// OnOutcome is told every outcome but [Sending] after the queue has recorded it, released, expired
	// and dead ones included, with the duration of its request: 0 if it was not sent. It is called from
	// several goroutines at once and holds up the recording of others, so it must not block. It may
	// put new items; it must not call Flush nor wait for Run. Its panics are recovered, and the
	// first is logged. nil: nobody is told.
	OnOutcome func(Outcome, time.Duration)
	// Logger hears of what stops the lane and of its recovery; nil: nobody does. It is never given
	// a payload, a header or a key.
	Logger *slog.Logger
}

// Check returns nil if the options are in order, else an error that names the field, its value and what
// is allowed. [New] returns the same error.
func (o *Options) Check() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns the options with every zero replaced, or which of them is out of bounds.
func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Concurrency < 0 {
		return d, fmt.Errorf("sender: Concurrency is %d, the least is 0 (meaning 10)", d.Concurrency)
	}
	if d.Concurrency > maxConcurrency {
		return d, fmt.Errorf("sender: Concurrency is %d, the most is %d", d.Concurrency, maxConcurrency)
	}
	if d.Timeout < 0 {
		return d, fmt.Errorf("sender: Timeout is %v, the least is 0 (meaning 30s)", d.Timeout)
	}
	if d.Concurrency == 0 {
		d.Concurrency = 10
	}
	if d.Timeout == 0 {
		d.Timeout = 30 * time.Second
	}
	d.Timeout = min(d.Timeout, longestDelay)
	if d.MaxAttempts == 0 {
		d.MaxAttempts = 20
	}
	if d.Backoff == nil {
		d.Backoff = defaultBackoff
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

// A Sender drains one [Queue] into one [Transport]. [New] makes it, Run works. All methods are safe
// for concurrent use.
type Sender struct {
	options  Options // complete
	queue    Queue
	gatherer Gatherer // the queue; nil: it lets no outcome wait
	limiter  Limiter  // nil: no limit
	send     func(ctx context.Context, r *request)
	maxItems int // per request
	maxBytes int // per request; 0: no limit

	now    func() time.Time // the only clock; tests step it
	called atomic.Bool
	began  chan struct{} // closed when Run begins
	ended  chan struct{} // closed when Run has ended
	inbox  inbox
	woken  atomic.Bool // more may be due
	status atomic.Pointer[Status]
	flying atomic.Int64 // requests in flight, written by the loop
}

// New returns a Sender that drains q into t at the pace of l; a nil l means no limit. It returns an
// error if q or t is nil, an option is out of bounds, or l has a method Check() error that returns
// one. A Queue is drained by one Sender only: one that is [Exclusive] is reserved until Run has
// returned, and refuses another.
func New(q Queue, t Transport, l Limiter, o *Options) (*Sender, error) {
	if q == nil {
		return nil, errors.New("sender: the queue is nil")
	}
	if f, ok := t.(TransportFunc); t == nil || ok && f == nil {
		return nil, errors.New("sender: the transport is nil")
	}
	if c, ok := l.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return nil, fmt.Errorf("sender: %w", err)
		}
	}
	options, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sender{
		options:  options,
		queue:    q,
		limiter:  l,
		maxItems: 1,
		now:      time.Now,
		began:    make(chan struct{}),
		ended:    make(chan struct{}),
		inbox:    inbox{bell: make(chan struct{}, 1)},
	}
	s.gatherer, _ = q.(Gatherer)
	s.status.Store(&Status{})
	s.send = func(ctx context.Context, r *request) { r.single[0] = t.Send(ctx, r.items[0]); r.errs = r.single[:] }
	if b, ok := t.(BatchTransport); ok {
		items, bytes := b.BatchLimit()
		s.maxItems, s.maxBytes = max(items, 1), max(bytes, 0)
		s.send = func(ctx context.Context, r *request) { r.errs = slices.Clone(b.SendBatch(ctx, r.items)) }
	}
	if e, ok := q.(Exclusive); ok {
		if err := e.Attach(s.Wake); err != nil {
			return nil, fmt.Errorf("sender: %w", err)
		}
	}
	return s, nil
}

// Run sends what the queue holds until ctx ends, and then returns once everything that was answered
// is recorded: nil, or the reason why it could not be. It gives requests in flight half a second to
// notice the end of their context and leaves those that do not; their items stay in the queue and are
// sent again by the next process. Every other goroutine it started has ended when it returns. Run
// may be called once; a second call is an error.
func (s *Sender) Run(ctx context.Context) error {
	if s.called.Swap(true) {
		return errors.New("sender: Run was called a second time")
	}
	close(s.began)
	defer close(s.ended)
	if e, ok := s.queue.(Exclusive); ok {
		defer e.Detach()
	}
	return newLoop(s, ctx).run()
}

// Wake tells a running Sender that the queue has changed. It never blocks, may be called at any time,
// also before Run, and costs little.
func (s *Sender) Wake() {
	if !s.woken.Swap(true) {
		s.inbox.ring()
	}
}
