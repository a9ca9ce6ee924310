// Package redislimiter keeps one rate limit for all processes that send to the same destination.
//
// The limit of a vendor usually counts the requests of a whole account. Processes that each keep to
// a limit of their own exceed it together. A [Limiter] of this package keeps the log of starts in a
// Redis that the processes share:
//
//	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
//	l, err := redislimiter.New(c, "customerio-track", 100, time.Second, nil)
//	if err != nil {
//		return err
//	}
//	defer l.Close()
//	b, err := outbox.Open("events.db", transport, &outbox.Options{Limiter: l})
//
// # The invariant
//
// Redis holds the instants at which requests may start. Any limit + 1 consecutive instants span at
// least window + jitter. A request starts at its instant or later, and arrives at the destination
// less than jitter after its instant. So the destination counts at most limit requests in any
// rolling window.
//
//   - An instant is a time of the clock of Redis. A process learns how long to wait, and counts
//     that from the moment the reply arrives. So it starts late by the way of the reply, never
//     early. A start that would be late by more than half of the jitter is given up, and its
//     instant is lost.
//   - Instants are reserved at most a second before they come, and at most a window.
//   - A server that may have forgotten starts grants nothing for window + jitter + that second.
//     Such a server has another run id, or has no state: after a restart, a failover, FLUSHALL, an
//     eviction.
//
// Nothing starts while Redis cannot be asked, unless there is an [Options.Local]. In an outbox the
// events wait on disk until then.
//
// # Turns
//
// Each process asks for one start at a time (above 1,000 starts a second, for more), so processes
// that all want more than they get have about the same number of starts. If more is wanted than the
// limit yields, a process is told when to ask again: when its place in line has come, or at random
// after five to ten seconds if that is further away.
//
// # Caveats
//
// The limit that is reached is at most limit·window/(window+jitter): 90.9 of 100 a second with the
// jitter of 100 ms.
//
// Two masters at once (a split brain) each grant, up to twice the limit. min-replicas-to-write 1
// in the configuration of Redis bounds the time. When the clock of Redis is set forward, up to
// limit starts too many are granted, once; when it is set back, nothing starts for as long. Let the
// clock be slewed.
//
// Redis 7.0 or later is needed. The client needs the commands EVALSHA, EVAL, TIME, INFO, HMGET,
// HGET, HSET, HDEL, DEL and PEXPIRE for the key outbox:{name}, and should have PUBLISH and
// SUBSCRIBE for the channel outbox:{name}:pause (an ACL of Redis 7 gives no channel unless told).
// Without the channel the other processes hear of a pause with their next call, and of its end
// within ten seconds.
package redislimiter

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/sender"
)

const (
	maxLimit  = 100_000 // about 10 MB in Redis
	maxWindow = time.Minute

	minRetry, maxRetry = 100 * time.Millisecond, time.Second // between calls while Redis is away
	lookEvery          = 10 * time.Second                    // in a pause, whether somebody has ended it
	longestPause       = 100 * 365 * 24 * time.Hour          // all clocks can add it to the time
)

// Options are the settings of a Limiter. A nil *Options is valid.
type Options struct {
	// Jitter is by how much one request may arrive later after its instant than another: the
	// network, and what lies between Wait and the first byte. 0 means 100 ms. All processes should
	// have the same; the largest that was seen in the last hour counts.
	Jitter time.Duration
	// Local paces this process while Redis is away. nil: nothing starts then. The limit given to
	// New and the Locals of all processes together must stay below the limit of the destination.
	// New returns the error of its method Check() error, if it has one.
	Local sender.Limiter
	// Timeout of a call to Redis. 0 means 250 ms.
	Timeout time.Duration
	// WithoutRunID is for a Redis that forbids INFO in a script. A failover or a restart with older
	// data then goes unnoticed, and may exceed the limit once. All processes must have the same
	// setting. Otherwise each takes the state of the others for the state of another server, and
	// nothing starts.
	WithoutRunID bool
	// Logger receives a line for each change of the mode. nil means slog.Default().
	Logger *slog.Logger
}

// A Limiter decides when requests of this process may start, together with all Limiters of the same
// name at the same Redis. It is a [sender.Limiter], a [sender.Pauser] and a [sender.Resumer]. Make
// it with New: the zero Limiter does not work. All methods are safe for concurrent use.
type Limiter struct {
	c       redis.UniversalClient
	key     string
	channel string
	limit   int
	window  time.Duration
	jitter  time.Duration
	opts    Options
	log     *slog.Logger
	script  *redis.Script

	turn chan struct{} // 1-buffered, full while one call waits for its start; blocked calls are served in order
	last chan struct{} // the same for calls of WaitLast, before they take a turn

	tell   chan struct{} // 1-buffered: told, refused or resumes was set, and Redis does not know
	wake   chan struct{} // 1-buffered: a pause was ended, and the call in turn looks again
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup // the goroutine of background

	mu      sync.Mutex // a leaf, held for copies only; guards what follows
	granted []start    // not used yet, in order
	pause   time.Time  // nothing starts before; zero: there was none
	told    time.Time  // end of a pause that Redis may not know; zero: none
	resumed int64      // the latest resume that is known, by the clock of Redis
	resumes int        // calls of Resume that Redis may not know
	looked  time.Time  // when Redis was last asked
	refused int64      // generation of a refused start that Redis may not know; -1: none
	gen     int64      // generation of the latest start
	ratio   float64    // share of the rate, as of the last reply
	inForce settings   // as of the last reply
	askNext time.Time  // Redis is not asked before
	place   bool       // askNext is the time that Redis has told
	delay   time.Duration
	status  Status
	yields  yields
}

// A start is a reserved instant.
type start struct {
	at   time.Time     // by this process's clock, counted from the receipt of the reply
	late time.Duration // how long the call took: at may be late by so much
}

type settings struct {
	limit          int
	window, jitter time.Duration
}

// New returns a Limiter of at most limit starts in any rolling window, for all processes that call
// New with this name at this Redis. Name the account and the API that the limit applies to; do not
// put credentials into it.
//
// limit is 1 to 100,000, window above 0 and at most a minute. The strictest settings that any
// process used in the last hour count. The client needs redis.Options.ContextTimeoutEnabled, or a
// call could take longer than Options.Timeout. New returns an error for invalid settings, and when
// Redis forbids the script. A Redis that does not answer is no error: Status tells. A redis.Ring is
// refused, because two processes may see different servers in it.
//
// Close the Limiter after the outbox that uses it. Close does not close c.
func New(c redis.UniversalClient, name string, limit int, window time.Duration, o *Options) (*Limiter, error) {
	l := &Limiter{
		c: c, limit: limit, window: window,
		key: "outbox:{" + name + "}", channel: "outbox:{" + name + "}:pause",
		turn: make(chan struct{}, 1), last: make(chan struct{}, 1), tell: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		refused: -1, yields: yields{changed: make(chan struct{})}, ratio: 1, script: redis.NewScript(take),
	}
	if o != nil {
		l.opts = *o
	}
	l.jitter = cmp.Or(l.opts.Jitter, 100*time.Millisecond)
	l.opts.Timeout = cmp.Or(l.opts.Timeout, 250*time.Millisecond)
	l.log = l.opts.Logger
	if l.log == nil {
		l.log = slog.Default()
	}
	l.inForce = settings{limit, window, l.jitter}
	if err := l.check(name); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	q := l.question(0)
	reply, err := l.call(l.ctx, q)
	if !passing(err) {
		l.cancel()
		return nil, fmt.Errorf("redislimiter: Redis refuses the script: %w", err)
	}
	l.answered(q, reply, err) // an error is in the Status
	l.ended.Go(l.background)
	return l, nil
}

//go:embed take.lua
var take string

func (l *Limiter) check(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "{}"):
		return fmt.Errorf("redislimiter: the name is %q, must not be empty or contain { or }", name)
	case l.limit < 1 || l.limit > maxLimit:
		return fmt.Errorf("redislimiter: limit is %d, must be from 1 to %d", l.limit, maxLimit)
	case l.window < time.Millisecond || l.window > maxWindow:
		return fmt.Errorf("redislimiter: window is %v, must be from 1ms to %v", l.window, maxWindow)
	case l.jitter < time.Millisecond || l.jitter > maxWindow:
		return fmt.Errorf("redislimiter: Jitter is %v, must be from 1ms to %v, or 0 (100ms)", l.jitter, maxWindow)
	case l.opts.Timeout < 0:
		return fmt.Errorf("redislimiter: Timeout is %v, must be from 0 (250ms) up", l.opts.Timeout)
	}
	if c, ok := l.opts.Local.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return fmt.Errorf("redislimiter: Local: %w", err)
		}
	}
	in := true
	switch c := l.c.(type) {
	case nil:
		return errors.New("redislimiter: a nil client")
	case *redis.Client:
		in = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		in = c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		return errors.New("redislimiter: the client is a redis.Ring, in which two processes may see different servers")
	}
	if !in {
		return fmt.Errorf("redislimiter: the client needs ContextTimeoutEnabled: a call must end after %v (Timeout)", l.opts.Timeout)
	}
	return nil
}

// Check returns why the Limiter cannot be used: it was not made by New, or it is closed.
func (l *Limiter) Check() error {
	switch {
	case l == nil || l.ctx == nil:
		return errors.New("redislimiter: a Limiter that was not made by New")
	case l.ctx.Err() != nil:
		return errClosed
	}
	return nil
}

var errClosed = fmt.Errorf("redislimiter: %w", sender.ErrClosed)

// Wait returns nil at the instant that Redis has reserved for one start of this process. It returns
// an error that wraps ctx.Err() when ctx ends first, or sender.ErrClosed after Close. Calls are
// served in order of arrival. While Redis is away Wait waits, or asks Options.Local.
func (l *Limiter) Wait(ctx context.Context) error {
	l.arrives()
	err := l.wait(ctx, false, nil)
	l.leaves(err == nil)
	return err
}

// wait is Wait, or WaitLast if last is set. It returns errYields when yield is closed first.
func (l *Limiter) wait(ctx context.Context, last bool, yield <-chan struct{}) error {
	for {
		local, err := l.shared(ctx, yield)
		if local {
			err = l.local(ctx, last)
		}
		switch {
		case l.ctx.Err() != nil:
			return errClosed
		case !local || err != nil || l.Paused().IsZero():
			return err
		}
	}
}

// shared waits for a start that Redis has reserved. local: Redis is away, and Options.Local
// decides.
func (l *Limiter) shared(ctx context.Context, yield <-chan struct{}) (local bool, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-yield:
		return false, errYields
	case <-ctx.Done():
		return false, fmt.Errorf("redislimiter: %w", ctx.Err())
	case <-l.ctx.Done():
		return false, errClosed
	}
	for {
		wait, s, local := l.next()
		switch {
		case local:
			return true, nil
		case s != nil:
			if err := l.sleep(ctx, yield, nil, time.Until(s.at)); err != nil {
				l.giveBack(s)
				return false, err
			}
			if l.usable(s) {
				return false, nil
			}
		case wait > 0:
			if err := l.sleep(ctx, yield, l.wake, wait); err != nil {
				return false, err
			}
		default:
			if err := ctx.Err(); err != nil {
				return false, fmt.Errorf("redislimiter: %w", err)
			}
			_ = l.ask(ctx, l.wanted()) // an error is in the Status, and sets when to ask again
		}
	}
}

// local waits for Options.Local. It has no turn, so that Local serves all calls in its own order.
func (l *Limiter) local(ctx context.Context, last bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	wait := l.opts.Local.Wait
	if y, ok := l.opts.Local.(interface{ WaitLast(context.Context) error }); ok && last {
		wait = y.WaitLast
	}
	return wait(ctx)
}

// next says what to do next: use a start, let Local decide, sleep, or ask Redis.
func (l *Limiter) next() (wait time.Duration, s *start, local bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.granted) > 0 {
		first := l.granted[0]
		l.granted = l.granted[1:]
		return 0, &first, false
	}
	if left := l.pause.Sub(now); left > 0 {
		return min(left, l.looked.Add(lookEvery).Sub(now)), nil, false
	}
	wait = l.askNext.Sub(now)
	return wait, nil, wait > 0 && l.status.away() && l.opts.Local != nil
}

// usable reports whether a start may begin now: its instant did not pass too long ago, and no pause
// was told since. A start that may not begin is lost.
func (l *Limiter) usable(s *start) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return now.Sub(s.at)+s.late <= l.jitter/2 && !l.pause.After(now)
}

// giveBack keeps a start for the next call.
func (l *Limiter) giveBack(s *start) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.granted = slices.Insert(l.granted, 0, *s)
}

// wanted is for how many starts to ask: more than one where one call after the other could not
// reach the rate; for none in a pause.
func (l *Limiter) wanted() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pause.After(time.Now()) {
		return 0
	}
	return max(1, min(int(math.Ceil(l.inForce.rate()/1000)), l.yields.waiting))
}

func (l *Limiter) sleep(ctx context.Context, yield, wake <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-wake:
		return nil
	case <-yield:
		return errYields
	case <-ctx.Done():
		return fmt.Errorf("redislimiter: %w", ctx.Err())
	case <-l.ctx.Done():
		return errClosed
	}
}

// Slow halves the rate of the fleet, down to a sixteenth. It climbs back within a minute after the
// pause. Several refusals of starts that were granted at the same rate halve it once.
func (l *Limiter) Slow() {
	l.mu.Lock()
	l.refused = max(l.refused, l.gen)
	l.wakeTeller()
	l.mu.Unlock()
	if l.opts.Local != nil {
		l.opts.Local.Slow()
	}
}

func (l *Limiter) wakeTeller() {
	select {
	case l.tell <- struct{}{}:
	default:
	}
}

// Rate returns the rate that the fleet is allowed now, in starts per second, as of the last reply
// of Redis. While Redis is away it is the rate of Local, or the rate of the last reply.
func (l *Limiter) Rate() float64 {
	l.mu.Lock()
	away, rate := l.status.away(), l.inForce.rate()*l.ratio
	l.mu.Unlock()
	if away && l.opts.Local != nil {
		return l.opts.Local.Rate()
	}
	return rate
}

// Limit returns the rate of the fleet without a slow-down, in starts per second:
// limit/(window+jitter), with the strictest settings of the last hour.
func (l *Limiter) Limit() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inForce.rate()
}

func (s settings) rate() float64 { return float64(s.limit) / (s.window + s.jitter).Seconds() }

// background tells Redis of pauses and slow-downs, and hears of the pauses of others. Close ends
// it.
func (l *Limiter) background() {
	sub := l.c.Subscribe(l.ctx, l.channel)
	defer sub.Close()
	messages := sub.ChannelWithSubscriptions()
	var again <-chan time.Time
	for {
		select {
		case <-l.ctx.Done():
			return
		case m, ok := <-messages:
			if !ok {
				messages = nil // the client is closed
				continue
			}
			if m, ok := m.(*redis.Message); ok {
				l.hear(m.Payload)
				continue
			}
			// Subscribed, perhaps again: what was published before is missed.
		case <-l.tell:
		case <-again:
		}
		again = nil
		if l.ask(l.ctx, 0) != nil {
			again = time.After(maxRetry)
		}
	}
}

// Close ends the subscription to Redis and all calls of Wait and WaitLast. It returns nil, and may
// be called more than once.
func (l *Limiter) Close() error {
	l.cancel()
	l.ended.Wait()
	return nil
}
