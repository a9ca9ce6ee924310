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

// Options adjust a [Sender]. A nil *Options and the zero value are fine.
type Options struct {
	// Concurrency is how many requests may be in flight; 0 means 10, 65536 is the most. See also
	// [Sender.SetConcurrency].
	Concurrency int
	// Timeout is how long one request may take: its context ends then. 0 means 30s; more than 365
	// days are cut to that.
	Timeout time.Duration
	// MaxAttempts is how many failures may be charged to an item before it is dead; 0 means 20;
	// negative: no limit.
	MaxAttempts int
	// Backoff returns how long an item waits after its attempt-th failure, counted from 1. Less
	// than 10ms is raised to that, more than 365 days are cut to that. Several goroutines may call
	// it at once. If it panics, the sender uses the default and logs the panic once. nil means
	// Exponential(time.Second, time.Minute).
	Backoff func(attempt int) time.Duration
	// AtMostOnce is for destinations where a second delivery harms, for example an email. Before
	// each request a commit records its items as dead, "sent, answer unknown". The answer takes
	// that back if it is a success or has a mark ([Permanent], [Later], [Throttled], [NotAccepted],
	// [Unavailable], [Split]): a mark says that nothing was accepted. After any other error, a
	// timeout, the end of Run or a crash the items stay among the dead, and a person decides. So a
	// transport must mark an error only if nothing can have been accepted.
	//
	// What an outage costs: an answer that says nothing was accepted (HTTP 429, 503, a refused
	// connection) costs no item. Otherwise (500, 502, 504, timeouts) the items in flight when it
	// begins are dead. Then a transport that is a [Prober] loses no more, unless its harmless
	// request succeeds while items fail. Any other loses at least five requests, until the lane
	// holds, and then one item for each probe; probes are up to a minute apart.
	//
	// Each request waits for this commit, which requests in flight share. If it took more than
	// 10ms, the request waits for a second token. The commit may take as long as Timeout.
	// Status.Abandoned counts that time as part of the call.
	AtMostOnce bool
	// OnOutcome is called with every outcome except [Sending] after the queue has recorded it, and
	// with the duration of its request; 0: the item was not sent. Released, expired and dead items
	// are included. Several goroutines call it at once, and other outcomes wait for it, so it must
	// not block. It may put new items; it must not call Flush or wait for Run. Its panics are
	// recovered, and the first one is logged. nil: no function is called.
	OnOutcome func(Outcome, time.Duration)
	// Logger gets what stops the lane and what ends that, and what became of dead items; nil:
	// nothing is logged. What lasts is repeated each hour, what happens again and again is one line
	// a minute. It never gets a payload, a header or a key. Of a dead item it gets kind, ID and
	// reason.
	Logger *slog.Logger
}

// Check returns nil if the options are valid. Otherwise the error names the field, its value and
// the bound. [New] returns the same error.
func (o *Options) Check() error {
	_, err := o.withDefaults()
	return err
}

// withDefaults returns the options with every zero replaced, or an error about the first that is
// out of bounds.
func (o *Options) withDefaults() (Options, error) {
	var d Options
	if o != nil {
		d = *o
	}
	var err error
	if d.Concurrency, err = checkConcurrency(d.Concurrency); err != nil {
		return d, fmt.Errorf("sender: %w", err)
	}
	if d.Timeout < 0 {
		return d, fmt.Errorf("sender: Timeout is %v, the least is 0 (meaning 30s)", d.Timeout)
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
	options     Options      // complete
	concurrency atomic.Int64 // what SetConcurrency set last, or the option
	queue       Queue
	gatherer    Gatherer // the queue; nil: it does not gather outcomes
	operator    Operator // the queue; nil: it keeps no operator's pause
	limiter     Limiter  // nil: no limit
	send        func(ctx context.Context, r *request)
	prober      Prober     // the transport; nil: it is none, or items may be sent twice
	idleCloser  IdleCloser // the transport; nil: it is none
	maxItems    int        // per request
	maxBytes    int        // per request; 0: no limit

	now       func() time.Time // the only clock; tests step it
	called    atomic.Bool
	began     chan struct{} // closed when Run begins
	ended     chan struct{} // closed when Run has ended
	inbox     inbox
	observers observers
	requests  atomic.Uint64 // that were started
	woken     atomic.Bool   // more may be due
	status    atomic.Pointer[Status]
	inFlight  atomic.Int64 // requests in flight, written by the loop
	waiting   atomic.Bool  // the next request waits for the limiter; written by the worker with the baton
}

// New returns a Sender that drains q into t at the pace of l; a nil l means no limit. It returns an
// error if q or t is nil, if an option is out of bounds, or if l has a method Check() error that
// returns one. Only one Sender may drain a Queue. An [Exclusive] queue is reserved until Run has
// returned, and refuses another Sender.
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
	s.concurrency.Store(int64(options.Concurrency))
	s.gatherer, _ = q.(Gatherer)
	s.operator, _ = q.(Operator)
	s.status.Store(&Status{})
	s.send = func(ctx context.Context, r *request) { r.single[0] = t.Send(ctx, r.items[0]); r.errs = r.single[:] }
	if b, ok := t.(BatchTransport); ok {
		items, bytes := b.BatchLimit()
		s.maxItems, s.maxBytes = max(items, 1), max(bytes, 0)
		s.send = func(ctx context.Context, r *request) { r.errs = slices.Clone(b.SendBatch(ctx, r.items)) }
	}
	if options.AtMostOnce {
		s.prober, _ = t.(Prober)
	}
	s.idleCloser, _ = t.(IdleCloser)
	if e, ok := q.(Exclusive); ok {
		if err := e.Attach(s.Wake); err != nil {
			return nil, fmt.Errorf("sender: %w", err)
		}
	}
	return s, nil
}

// Run sends what the queue holds until ctx ends, or [Sender.Stop] is called, and returns once every
// answer is recorded: nil, or why one could not be recorded.
//
// The end of ctx does not cut off requests in flight, so ctx may come from signal.NotifyContext.
// From then on nothing is claimed, and the requests in flight have five seconds to finish, or less
// if their timeout is sooner. Then their contexts are cancelled, and they have half a second to
// notice it. Run does not wait longer: their items stay in the queue, and the next sender of an
// [Exclusive] queue, or the next process, sends them again; with AtMostOnce they are among the
// dead. So Run returns at most 5.5 seconds after the end of ctx, and the time that recording takes.
//
// All other goroutines of Run have ended when it returns. Run may be called once; a second call, or
// a nil ctx, is an error.
func (s *Sender) Run(ctx context.Context) error {
	if ctx == nil {
		return errors.New("sender: the context of Run is nil")
	}
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

// Wake tells a running Sender that the queue has changed. It never blocks and costs little. It may
// be called at any time, also before Run.
func (s *Sender) Wake() {
	if !s.woken.Swap(true) {
		s.inbox.ring()
	}
}
