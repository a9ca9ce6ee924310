// Package limiter is a token bucket that can be paused and recovers slowly.
//
// A [Limiter] made by [Within] guarantees that the destination counts no more requests than the
// limit in any rolling window: at the start, after a restart, after a pause, in a crash loop. A
// plain Limiter allows, in any span of time, at most Burst plus the number of starts that its rate
// yields.
//
//	l := limiter.Within(100, time.Second) // what the destination allows
//	if err := l.Wait(ctx); err != nil {
//		return err
//	}
//	answer := request()
//	if answer.Status == 429 {
//		l.Slow()
//		l.Pause(time.Now().Add(answer.RetryAfter))
//	}
//
// # Caveats
//
// A token is taken at the moment of the start, never in advance. When a timer fires late, tokens
// that do not fit into the full bucket are lost. With a Burst of 1 that is some percent at a
// hundred starts a second, and most of the rate at ten thousand. A Burst of at least 2 that covers
// 10 ms of the rate loses nothing.
//
// Time is measured by the monotonic clock, so steps of the wall clock change nothing. On systems
// where that clock stops while the machine sleeps, a pause becomes longer by the time of the sleep.
package limiter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Limiter decides when requests may start. It is a token bucket that is empty at the first call
// of any method, at the end of each pause, and after Slow. Several senders that share a Limiter
// together keep to its rate. The zero Limiter allows everything unless it is paused.
//
// Set the fields before the first call and do not touch them afterwards: [Limiter.SetRate] changes
// the rate of a Limiter in use. All methods are safe for
// concurrent use, also on a nil *Limiter. Do not copy a Limiter after its first use.
type Limiter struct {
	// PerSecond is the sustained rate, in starts per second. 0: no limit.
	PerSecond float64
	// Burst is how many requests may start at once after a time without any. 0 means 1. In d
	// seconds at most Burst + d·PerSecond requests start.
	Burst int
	// Floor is the lowest rate to which Slow leads, in starts per second, at most PerSecond. 0
	// means PerSecond/16.
	Floor float64
	// Recovery is how long the rate takes to climb from Floor back to PerSecond. 0 means a minute.
	Recovery time.Duration

	log  *startLog     // the hard limit of Within or SetRate; nil: none. Guarded by mu.
	turn chan struct{} // 1-buffered, full while one Wait has its turn; nil: no method was called yet
	last chan struct{} // the same for WaitLast

	mu     sync.Mutex    // a leaf, never held while sleeping; guards log, PerSecond, Burst, making turn and last, and the rest
	from   time.Time     // nothing starts before from; then the bucket is empty and the rate is low
	low    float64       // the rate at from; it climbs afterwards
	bucket *rate.Limiter // its limit is the rate at its last use; nil: no limit
	slowed bool          // nothing has started since the last Slow
	born   time.Time     // since when log knows all starts: the first call of any method, or the SetRate that made log
	paused time.Time     // the latest end that Pause was told; zero: it was never called
	yields yields        // between Wait and WaitLast
}

// Check returns nil if the settings are valid. Otherwise the error names the field, its value and
// the allowed range. Wait returns the same error.
func (l *Limiter) Check() error {
	_, err := l.enter()
	if err != nil {
		return err
	}
	l.mu.Unlock()
	return nil
}

// Wait blocks until one request may start, and takes its token. When ctx ends first, the error
// wraps ctx.Err() and no token is taken. Wait does not look ahead: if the deadline of ctx is nearer
// than the next token, it waits until the deadline. Calls are served in order of arrival. Invalid
// settings return the error of Check at once.
//
// [Limiter.WaitLast] gives way to Wait, except for one start in sixteen.
func (l *Limiter) Wait(ctx context.Context) error {
	if err := l.Check(); err != nil {
		return err
	}
	l.arrives(1)
	defer l.arrives(-1)
	return l.wait(ctx, l.turn, false)
}

// wait is Wait, or WaitLast if last is set. turn is of the calls of the same kind.
func (l *Limiter) wait(ctx context.Context, turn chan struct{}, last bool) error {
	for inTurn := false; ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("limiter: %w", err)
		}
		if !inTurn && l.limited() {
			select {
			case turn <- struct{}{}: // a channel serves blocked goroutines in order of arrival
				defer func() { <-turn }()
			case <-ctx.Done():
				return fmt.Errorf("limiter: %w", ctx.Err())
			}
			if inTurn = true; last {
				l.waitsLast(true)
				defer l.waitsLast(false)
			}
		}
		wait, changed := l.take(last, inTurn)
		if wait <= 0 {
			return nil
		}
		// Pause and Slow need not end this sleep: they only delay the start, and take checks again.
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Pause lets nothing start before until; this includes calls of Wait that wait already. At until
// the bucket is empty and begins to fill, at the rate that holds now: the rate does not climb
// during a pause. A call can only extend a pause; an until that is earlier, or in the past, does
// nothing. It also pauses the zero Limiter. With invalid settings it does nothing.
func (l *Limiter) Pause(until time.Time) {
	now, err := l.enter()
	if err != nil {
		return
	}
	defer l.mu.Unlock()
	until = now.Add(until.Sub(now)) // with a monotonic reading, even if it had none
	if until.After(l.paused) {
		l.paused = until
	}
	if until.After(l.opens(now)) {
		l.resume(until, l.rate(now))
	}
}

// Paused returns the end of the pause that Pause was told, by whichever of its callers; zero: it is
// over, or there was none. The time before the first start of [Within] is no pause.
func (l *Limiter) Paused() time.Time {
	now, err := l.enter()
	if err != nil {
		return time.Time{}
	}
	defer l.mu.Unlock()
	if !l.paused.After(now) {
		return time.Time{}
	}
	return l.paused
}

// Slow halves the rate, down to Floor at the lowest, and empties the bucket. From now, or from the
// end of the pause, the rate climbs back to PerSecond in a straight line, which takes Recovery from
// Floor to PerSecond. Call Slow for each refusal. Several refusals together halve the rate once: a
// further call does nothing until another request has started. It does nothing without a limit.
func (l *Limiter) Slow() {
	now, err := l.enter()
	if err != nil {
		return
	}
	defer l.mu.Unlock()
	if l.slowed {
		return
	}
	l.slowed = true
	r := l.rate(now)
	l.resume(l.opens(now), max(min(l.floor(), r), r/2))
}

// Rate returns the rate that is allowed now, in starts per second; during a pause, the rate at its
// end. 0: no limit, or invalid settings.
func (l *Limiter) Rate() float64 {
	now, err := l.enter()
	if err != nil {
		return 0
	}
	defer l.mu.Unlock()
	return l.rate(now)
}

// enter locks mu and reads the clock. The first call with valid settings starts the bucket. After
// an error mu is not locked.
func (l *Limiter) enter() (now time.Time, err error) {
	if l == nil {
		return now, errors.New("limiter: a nil *Limiter; the zero Limiter has no limit")
	}
	l.mu.Lock()
	now = time.Now()
	if l.turn == nil {
		if err := l.check(); err != nil {
			l.mu.Unlock()
			return now, err
		}
		l.turn, l.last = make(chan struct{}, 1), make(chan struct{}, 1)
		l.yields.changed = make(chan struct{})
		l.born = now
		l.resume(now.Add(l.log.silence()), l.PerSecond)
	}
	return now, nil
}

// check returns what is wrong with the settings. mu is held.
func (l *Limiter) check() error {
	if err := l.log.check(); err != nil {
		return err
	}
	switch {
	case !(l.PerSecond >= 0) || math.IsInf(l.PerSecond, 0): // the first is true of NaN too
		return fmt.Errorf("limiter: PerSecond is %v, must be a finite number from 0 (no limit) up", l.PerSecond)
	case !(l.Floor >= 0) || l.Floor > l.PerSecond:
		return fmt.Errorf("limiter: Floor is %v, must be from 0 (PerSecond/16) to PerSecond, which is %v", l.Floor, l.PerSecond)
	case l.Burst < 0:
		return fmt.Errorf("limiter: Burst is %d, must be from 0 (one at a time) up", l.Burst)
	case l.Recovery < 0:
		return fmt.Errorf("limiter: Recovery is %v, must be from 0 (a minute) up", l.Recovery)
	}
	return nil
}

// limited reports whether there is a limit. mu must not be held.
func (l *Limiter) limited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isLimited()
}

func (l *Limiter) isLimited() bool { return l.PerSecond > 0 || l.log != nil }

// floor is the lowest rate. SetRate may have set a rate below Floor. mu is held.
func (l *Limiter) floor() float64 { return min(cmp.Or(l.Floor, l.PerSecond/16), l.PerSecond) }

func (l *Limiter) recovery() time.Duration { return cmp.Or(l.Recovery, time.Minute) }

// opens returns when requests may start: now, or at the end of the pause. mu is held.
func (l *Limiter) opens(now time.Time) time.Time {
	if l.from.After(now) {
		return l.from
	}
	return now
}

// resume sets that requests start at from, with an empty bucket and at the rate low, which climbs
// afterwards. mu is held.
func (l *Limiter) resume(from time.Time, low float64) {
	l.from, l.low = from, low
	if l.PerSecond > 0 {
		burst := cmp.Or(l.Burst, 1)
		l.bucket = rate.NewLimiter(rate.Limit(low), burst)
		l.bucket.AllowN(from, burst) // a new bucket is full; from is also where its clock begins
	}
}

// rate returns the rate in force at now. mu is held.
func (l *Limiter) rate(now time.Time) float64 {
	climbed := max(0, now.Sub(l.from).Seconds()) / l.recovery().Seconds()
	return min(l.PerSecond, l.low+climbed*(l.PerSecond-min(l.floor(), l.low))) // SetRate may have set low below the floor
}

// take lets one request start and returns 0, or returns how long to wait before the next call. The
// next call is due earlier if the channel is closed. A call that is not in turn looks again at once
// if SetRate has just made a limit.
func (l *Limiter) take(last, inTurn bool) (wait time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.isLimited():
	case !inTurn:
		return 1, l.yields.changed
	case !l.yields.may(last):
		return time.Hour, l.yields.changed
	}
	now := time.Now()
	if wait := l.from.Sub(now); wait > 0 {
		return wait, l.yields.changed
	}
	if wait := l.log.wait(now); wait > 0 {
		return wait, l.yields.changed
	}
	if wait := l.takeToken(now); wait > 0 {
		return wait, l.yields.changed
	}
	l.log.add(now)
	l.slowed = false
	l.yields.started(last)
	return 0, nil
}

// takeToken takes a token and returns 0, or returns how long to wait before the next call. mu is
// held, and no pause is in force: the bucket must not be used before from.
func (l *Limiter) takeToken(now time.Time) time.Duration {
	r := l.rate(now)
	if l.bucket == nil || r == l.PerSecond && l.log.alone() {
		return 0
	}
	// Tokens since the last call came in at the earlier rate, which was not higher.
	l.bucket.SetLimitAt(now, rate.Limit(r))
	if l.bucket.AllowN(now, 1) {
		return 0
	}
	longest := time.Hour // keeps the result in range, however low the rate
	if r < l.PerSecond {
		longest = max(l.recovery()/100, time.Millisecond) // a rising rate brings the token sooner
	}
	missing := (1 - l.bucket.TokensAt(now)) / r * float64(time.Second)
	return time.Duration(min(missing, float64(longest))) + 1 // rounded up: 0 means taken
}
