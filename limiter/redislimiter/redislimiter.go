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
//   - An instant is a time of the clock of Redis. A process learns how long to wait, and counts that
//     from the moment the reply arrives. So it starts late by the way of the reply, never early. A
//     start that would be late by more than half of the jitter is given up, and its instant is lost.
//   - Instants are reserved at most a second before they come, and at most a window.
//   - A server that may have forgotten starts grants nothing for window + jitter + that second. Such
//     a server has another run id, or has no state: after a restart, a failover, FLUSHALL, an
//     eviction.
//
// Nothing starts while Redis cannot be asked, unless there is an [Options.Local]. In an outbox the
// events wait on disk meanwhile.
//
// # Caveats
//
// The limit that is reached is at most limit·window/(window+jitter): 90.9 of 100 a second with the
// jitter of 100 ms.
//
// Two masters at once (a split brain) each grant, up to twice the limit. min-replicas-to-write 1
// in the configuration of Redis bounds the time. When the clock of Redis is set forward, up to limit
// starts too many are granted, once; when it is set back, nothing starts for as long. Let the clock
// be slewed.
//
// Redis 7.0 or later is needed. The client needs the commands EVALSHA, EVAL, TIME, INFO, HMGET,
// HGET, HSET, HDEL, DEL, PEXPIRE, PUBLISH and SUBSCRIBE, for the key outbox:{name} and the channel
// outbox:{name}:pause.
package redislimiter

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/sender"
)

const (
	maxLimit  = 100_000 // about 10 MB in Redis
	maxWindow = time.Minute

	minRetry, maxRetry = 100 * time.Millisecond, time.Second // between calls while Redis is away
)

// Options are the settings of a Limiter. A nil *Options is valid.
type Options struct {
	// Jitter is by how much one request may arrive later after its instant than another: the
	// network, and what lies between Wait and the first byte. 0 means 100 ms. All processes should
	// have the same; the largest that was seen in the last hour counts.
	Jitter time.Duration
	// Local paces this process while Redis is away. nil: nothing starts then. The limit given to
	// New and the Locals of all processes together must stay below the limit of the destination.
	Local sender.Limiter
	// Timeout of a call to Redis. 0 means 250 ms.
	Timeout time.Duration
	// WithoutRunID is for a Redis that forbids INFO in a script. A failover or a restart with older
	// data then goes unnoticed, and may exceed the limit once.
	WithoutRunID bool
	// Logger receives a line for each change of the Mode. nil means slog.Default().
	Logger *slog.Logger
}

// A Limiter decides when requests of this process may start, together with all Limiters of the same
// name at the same Redis. It is a [sender.Limiter]. All methods are safe for concurrent use.
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

	turn    chan struct{} // 1-buffered, full while one Wait has its turn; blocked Waits are served in order
	waiting atomic.Int64  // calls of Wait, the one with the turn included

	tell   chan struct{} // 1-buffered: told or refused was set, and Redis does not know
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup // the goroutine of background

	mu      sync.Mutex // a leaf, held for copies only; guards what follows
	granted []start    // not used yet, in order
	pause   time.Time  // nothing starts before; zero: there was none
	told    time.Time  // end of a pause that Redis may not know; zero: none
	refused int64      // generation of a refused start that Redis may not know; -1: none
	gen     int64      // generation of the latest start
	ratio   float64    // share of the rate, as of the last reply
	inForce settings   // as of the last reply
	askNext time.Time  // Redis is not asked before
	delay   time.Duration
	mode    Mode
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
// Redis forbids the script. A Redis that does not answer is no error: Mode tells.
//
// Close the Limiter when nothing waits for it any more. Close does not close c.
func New(c redis.UniversalClient, name string, limit int, window time.Duration, o *Options) (*Limiter, error) {
	l := &Limiter{
		c: c, limit: limit, window: window,
		key: "outbox:{" + name + "}", channel: "outbox:{" + name + "}:pause",
		turn: make(chan struct{}, 1), tell: make(chan struct{}, 1),
		refused: -1, ratio: 1, script: redis.NewScript(take),
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
	if _, err := l.call(l.ctx, 0, 0, -1); !passing(err) {
		l.cancel()
		return nil, fmt.Errorf("redislimiter: Redis refuses the script: %w", err)
	}
	_ = l.ask(l.ctx, 0) // an error is in the Mode
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
	in := true
	switch c := l.c.(type) {
	case nil:
		return errors.New("redislimiter: a nil client")
	case *redis.Client:
		in = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		in = c.Options().ContextTimeoutEnabled
	case *redis.Ring:
		in = c.Options().ContextTimeoutEnabled
	}
	if !in {
		return fmt.Errorf("redislimiter: the client needs ContextTimeoutEnabled: a call must end after %v (Timeout)", l.opts.Timeout)
	}
	return nil
}

// passing reports whether err says that Redis cannot be asked now, rather than never.
func passing(err error) bool {
	var answer redis.Error
	if err == nil || !errors.As(err, &answer) {
		return true
	}
	word, _, _ := strings.Cut(answer.Error(), " ")
	return slices.Contains([]string{
		"LOADING", "READONLY", "MASTERDOWN", "MISCONF", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MOVED", "ASK", "NOREPLICAS", "OOM",
	}, word)
}

// Wait returns nil at the instant that Redis has reserved for one start of this process. It returns
// an error that wraps ctx.Err() when ctx ends first, or sender.ErrClosed after Close. Calls are
// served in order of arrival. While Redis is away Wait waits, or asks Options.Local.
func (l *Limiter) Wait(ctx context.Context) error {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return fmt.Errorf("redislimiter: %w", ctx.Err())
	case <-l.ctx.Done():
		return fmt.Errorf("redislimiter: %w", sender.ErrClosed)
	}
	for {
		wait, s, local := l.next()
		switch {
		case local:
			return l.opts.Local.Wait(ctx)
		case s != nil:
			if err := l.sleep(ctx, time.Until(s.at)); err != nil {
				return err
			}
			if l.usable(s) {
				return nil
			}
		case wait > 0:
			if err := l.sleep(ctx, wait); err != nil {
				return err
			}
		default:
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("redislimiter: %w", err)
			}
			_ = l.ask(ctx, l.wanted()) // an error is in the mode, and sets when to ask again
		}
	}
}

// next says what Wait does next: use a start, ask the local limiter, sleep, or ask Redis.
func (l *Limiter) next() (wait time.Duration, s *start, local bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if len(l.granted) > 0 {
		first := l.granted[0]
		l.granted = l.granted[1:]
		return 0, &first, false
	}
	wait = max(l.pause.Sub(now), l.askNext.Sub(now))
	if l.mode.away() && l.opts.Local != nil && wait > 0 {
		return 0, nil, true
	}
	return wait, nil, false
}

// usable reports whether a start may begin now: its instant has not passed for too long, and no
// pause was told meanwhile. One that may not is lost.
func (l *Limiter) usable(s *start) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return now.Sub(s.at)+s.late <= l.jitter/2 && !l.pause.After(now)
}

// wanted is for how many starts to ask: more than one where one call after the other could not
// reach the rate.
func (l *Limiter) wanted() int {
	most := math.Ceil(l.Limit() / 1000)
	return int(max(1, min(most, float64(l.waiting.Load()))))
}

func (l *Limiter) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("redislimiter: %w", ctx.Err())
	case <-l.ctx.Done():
		return fmt.Errorf("redislimiter: %w", sender.ErrClosed)
	}
}

// ask reserves n starts, tells Redis what it may not know, and takes the reply over.
func (l *Limiter) ask(ctx context.Context, n int) error {
	l.mu.Lock()
	told, refused := l.told, l.refused
	l.mu.Unlock()
	sent := time.Now()
	var left time.Duration
	if !told.IsZero() {
		left = max(0, told.Sub(sent))
	}
	reply, err := l.call(ctx, n, left, refused)
	received := time.Now()
	if err != nil {
		if ctx.Err() == nil { // else the caller gave up, which says nothing about Redis
			l.failed(received, err)
		}
		return err
	}
	l.mu.Lock()
	if l.told.Equal(told) {
		l.told = time.Time{}
	}
	if l.refused == refused {
		l.refused = -1
	}
	l.takeOver(reply, received, received.Sub(sent))
	l.mu.Unlock()
	state := Shared
	if reply[2] > 0 {
		state = Quiet
	}
	l.setMode(Mode{State: state, Since: received})
	return nil
}

// call runs the script. pause is what is left of a pause to tell, 0: none. refused is the generation
// of a refused start, -1: none.
func (l *Limiter) call(ctx context.Context, n int, pause time.Duration, refused int64) ([]int64, error) {
	slow, run := "", "run"
	if refused >= 0 {
		slow = strconv.FormatInt(refused, 10)
	}
	if l.opts.WithoutRunID {
		run = ""
	}
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	reply, err := l.script.Run(ctx, l.c, []string{l.key}, l.limit, l.window.Microseconds(), l.jitter.Microseconds(),
		n, pause.Microseconds(), slow, rand.Float64(), run, l.channel).Int64Slice()
	if err == nil && len(reply) < 8 {
		err = fmt.Errorf("the script returned %d values, at least 8 expected", len(reply))
	}
	return reply, err
}

// failed notes that Redis could not be asked, and when to ask again.
func (l *Limiter) failed(now time.Time, err error) {
	l.mu.Lock()
	l.delay = min(max(2*l.delay, minRetry), maxRetry)
	l.askNext = now.Add(l.delay)
	l.mu.Unlock()
	m := Mode{State: Away, Since: now, Cause: err}
	if l.opts.Local != nil {
		m.State = Local
	}
	l.setMode(m)
}

// takeOver updates memory from a reply of the script. l.mu is held.
func (l *Limiter) takeOver(reply []int64, now time.Time, took time.Duration) {
	after := func(micros int64) time.Time { return now.Add(time.Duration(micros) * time.Microsecond) }
	l.delay, l.askNext = 0, time.Time{}
	if reply[0] > 0 {
		l.askNext = after(reply[0])
	}
	if p := after(reply[1]); reply[1] > 0 && p.After(l.pause) {
		l.pause = p
	}
	l.gen, l.ratio = reply[3], float64(reply[4])/1e6
	l.inForce = settings{int(reply[5]), time.Duration(reply[6]) * time.Microsecond, time.Duration(reply[7]) * time.Microsecond}
	for _, wait := range reply[8:] {
		l.granted = append(l.granted, start{at: after(wait), late: took})
	}
}

// Pause lets nothing start before until, in all processes of the fleet: here at once, in the others
// as soon as Redis has told them. A call can only extend a pause.
func (l *Limiter) Pause(until time.Time) {
	l.mu.Lock()
	now := time.Now()
	until = now.Add(until.Sub(now)) // with a monotonic reading
	if until.After(now) && until.After(l.pause) {
		l.pause, l.told = until, until
		l.wakeTeller()
	}
	l.mu.Unlock()
	if l.opts.Local != nil {
		l.opts.Local.Pause(until)
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

// Rate returns the rate that the fleet is allowed now, in starts per second, as of the last reply of
// Redis. While Redis is away it is the rate of Local, or the rate of the last reply.
func (l *Limiter) Rate() float64 {
	l.mu.Lock()
	away, rate := l.mode.away(), l.inForce.rate()*l.ratio
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

// background tells Redis of pauses and slow-downs, and hears of the pauses of others. Close ends it.
func (l *Limiter) background() {
	sub := l.c.Subscribe(l.ctx, l.channel)
	defer sub.Close()
	messages := sub.Channel()
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
			if micros, err := strconv.ParseInt(m.Payload, 10, 64); err == nil && micros > 0 {
				l.hear(time.Now().Add(time.Duration(micros) * time.Microsecond))
			}
			continue
		case <-l.tell:
		case <-again:
		}
		again = nil
		if l.ask(l.ctx, 0) != nil {
			again = time.After(maxRetry)
		}
	}
}

// hear notes a pause that another process was told.
func (l *Limiter) hear(until time.Time) {
	l.mu.Lock()
	if until.After(l.pause) {
		l.pause = until
	}
	l.mu.Unlock()
	if l.opts.Local != nil {
		l.opts.Local.Pause(until)
	}
}

// Close ends the subscription to Redis and all calls of Wait. It may be called more than once.
func (l *Limiter) Close() error {
	l.cancel()
	l.ended.Wait()
	return nil
}
