// Package limiter is a token bucket that can be paused and recovers slowly.
//
// The guarantee of a [Limiter] made by [Within]: whoever receives the requests counts, in any
// rolling window, no more than the limit; at the start, after a restart, after a pause, in a crash
// loop. A plain Limiter starts, in any span of time, no more than Burst plus what its rate yields.
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
// A token is taken at the moment of the start, never in advance, so a timer that fires late loses
// what a full bucket cannot hold. With a Burst of 1 that is some percent at a hundred starts a second
// and most of the rate at ten thousand; a Burst of 10 ms' worth, at least 2, loses nothing.
//
// Time is measured by the monotonic clock: steps of the wall clock change nothing, and where that
// clock stands still while the machine sleeps, a pause lasts longer by that sleep.
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

// A Limiter decides when requests may start: a token bucket that is empty at the first call of any
// method, at the end of each pause, and after Slow. Several senders may share one, so that together
// they keep to its rate. The zero Limiter allows everything until it is paused.
//
// The fields are set before the first call and not changed afterwards. All methods are safe for
// concurrent use, and for a nil *Limiter. Do not copy a Limiter after first use.
type Limiter struct {
	// PerSecond is the sustained rate, in starts per second. 0: no limit.
	PerSecond float64
	// Burst is how many starts may happen at once after a time without any. 0 means 1.
	// In no span of d seconds are there more than Burst + d·PerSecond starts.
	Burst int
	// Floor is the lowest rate that Slow leads to, in starts per second, at most PerSecond.
	// 0 means PerSecond/16.
	Floor float64
	// Recovery is how long the rate takes to climb from Floor back to PerSecond. 0 means a minute.
	Recovery time.Duration

	log  *startLog     // the promise of Within; nil: none. Guarded by mu.
	turn chan struct{} // 1-buffered, filled by the one Wait whose turn it is; nil: not begun

	mu     sync.Mutex    // a leaf, never held while sleeping; guards what follows, and the making of turn
	from   time.Time     // nothing starts before; the bucket was empty then, and the rate was low
	low    float64       // the rate at from, climbing since
	bucket *rate.Limiter // its limit is the rate when it was last asked; nil: no limit
	slowed bool          // nothing has started since the last Slow
}

// Check returns nil if the settings are in order, else an error that names the field, its value and
// what is allowed. Wait returns the same error.
func (l *Limiter) Check() error {
	_, err := l.enter()
	if err != nil {
		return err
	}
	l.mu.Unlock()
	return nil
}

// Wait returns nil when one request may start at once, and an error that wraps ctx.Err() when ctx
// ends first; then no token is taken. It does not look ahead: a ctx whose deadline is nearer than
// the next token is waited for until its end. Those who wait are served in order of arrival. With
// settings that are not in order, it returns the error of Check at once.
func (l *Limiter) Wait(ctx context.Context) error {
	if err := l.Check(); err != nil {
		return err
	}
	if l.limited() {
		select {
		case l.turn <- struct{}{}: // a channel serves those who block on it in order of arrival
			defer func() { <-l.turn }()
		case <-ctx.Done():
			return fmt.Errorf("limiter: %w", ctx.Err())
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("limiter: %w", err)
		}
		wait := l.take()
		if wait <= 0 {
			return nil
		}
		// Pause and Slow need not wake this sleep: they only make it later, which take will find.
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Pause lets nothing start before until, not even those who wait already. At until the bucket is
// empty and begins to fill, at the rate of the moment of the call: during a pause it does not climb.
// A call can only extend a pause; one with an earlier until, or one in the past, does nothing. The
// zero Limiter allows everything again after the pause.
func (l *Limiter) Pause(until time.Time) {
	now, err := l.enter()
	if err != nil {
		return
	}
	defer l.mu.Unlock()
	if until.After(l.opens(now)) {
		// Built from now, so that it has a monotonic reading even if until has none.
		l.resume(now.Add(until.Sub(now)), l.rate(now))
	}
}

// Slow halves the rate, but not below Floor, and empties the bucket; from now, or from the end of
// the pause in force, the rate climbs back to PerSecond in a straight line, at the pace that leads
// from Floor to PerSecond in Recovery. Call it once for each refusal, for one wave of them halves the
// rate once: until something has started since the last Slow, another does nothing. Without a limit
// there is nothing to slow.
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
	l.resume(l.opens(now), max(l.floor(), l.rate(now)/2))
}

// Rate returns the rate now allowed, in starts per second; during a pause, the rate with which it
// will end. 0: no limit, or settings that are not in order.
func (l *Limiter) Rate() float64 {
	now, err := l.enter()
	if err != nil {
		return 0
	}
	defer l.mu.Unlock()
	return l.rate(now)
}

// enter locks mu and reads the clock. The first call with settings in order begins the life of the
// bucket. After an error mu is not locked.
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
		l.turn = make(chan struct{}, 1)
		l.resume(now.Add(l.log.silence()), l.PerSecond)
	}
	return now, nil
}

// check says what is wrong with the settings.
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

func (l *Limiter) limited() bool  { return l.PerSecond > 0 || l.log != nil }
func (l *Limiter) floor() float64 { return cmp.Or(l.Floor, l.PerSecond/16) }

func (l *Limiter) recovery() time.Duration { return cmp.Or(l.Recovery, time.Minute) }

// opens returns when starts are allowed: now, or at the end of a pause. mu is held.
func (l *Limiter) opens(now time.Time) time.Time {
	if l.from.After(now) {
		return l.from
	}
	return now
}

// resume lets starts begin at from, with an empty bucket, at the rate low, which climbs from then
// on. mu is held.
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
	return min(l.PerSecond, l.low+climbed*(l.PerSecond-l.floor()))
}

// take lets one request start and returns 0, or returns how long to wait before asking again.
func (l *Limiter) take() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if wait := l.from.Sub(now); wait > 0 {
		return wait
	}
	if wait := l.log.wait(now); wait > 0 {
		return wait
	}
	if wait := l.takeToken(now); wait > 0 {
		return wait
	}
	l.log.add(now)
	l.slowed = false
	return 0
}

// takeToken takes a token out of the bucket and returns 0, or returns how long to wait before asking
// again. mu is held, and a pause is over: before from, the bucket must not be asked.
func (l *Limiter) takeToken(now time.Time) time.Duration {
	r := l.rate(now)
	if l.bucket == nil || r == l.PerSecond && l.log.alone() {
		return 0
	}
	// What flowed in since the last call did so at the rate of then, which was not higher.
	l.bucket.SetLimitAt(now, rate.Limit(r))
	if l.bucket.AllowN(now, 1) {
		return 0
	}
	longest := time.Hour // keeps the result in range, however low the rate
	if r < l.PerSecond {
		longest = max(l.recovery()/100, time.Millisecond) // the next token comes the sooner, the higher the rate has climbed
	}
	missing := (1 - l.bucket.TokensAt(now)) / r * float64(time.Second)
	return time.Duration(min(missing, float64(longest))) + 1 // rounded up: 0 means taken
}
