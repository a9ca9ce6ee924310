package limiter

import (
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// SetRate changes the rate of a Limiter in use to what [Within] would set for limit and window: the
// destination now allows limit requests in any rolling window. Calls of Wait that wait already go
// by the new rate. Bounds are those of Within; after an error, which names them, nothing has
// changed.
//
// Each start after SetRate leaves at most limit starts in the window that ends with it, and the
// starts before SetRate count. So every window that holds a start after the change keeps to the new
// limit, also the one that spans the change. Lowering may therefore let nothing start for up to a
// window. The earlier limit no longer holds. Of starts that the log has forgotten, the latest
// possible time is assumed: after a change to a longer window it may wait a little longer than it
// must. A Limiter that was not made by Within has no log yet, and waits as Within does at the
// start; what a plain Limiter started before is not counted.
//
// A pause and the tokens in the bucket stay as they are. After Slow the lowered rate keeps its
// share of the setting. PerSecond and Burst are overwritten; a Floor above the new rate counts as
// that rate. The log keeps the size of the highest limit so far. The silence at the start assumes
// that an earlier process kept the limit that is set now. So a program that knows its limit when it
// starts should make its Limiter with that.
func (l *Limiter) SetRate(limit int, window time.Duration) error {
	if err := checkWindow("SetRate", limit, window); err != nil {
		return err
	}
	now, err := l.enter()
	if err != nil {
		return err
	}
	defer l.mu.Unlock()
	perSecond, burst := bucketFor(limit, window)
	low := perSecond
	if l.PerSecond > 0 {
		low *= l.rate(now) / l.PerSecond
	}
	from := l.from
	if l.log == nil {
		l.log = &startLog{shortest: window}
		l.log.limit, l.log.window = limit, window
		l.born = now
	} else {
		l.log.set(limit, window)
	}
	from = latest(from, l.born.Add(l.log.silence()))
	l.PerSecond, l.Burst = perSecond, burst
	if l.bucket == nil || from.After(now) {
		l.resume(latest(from, now), low)
	} else {
		l.from, l.low = now, low
		l.bucket.SetLimitAt(now, rate.Limit(low))
		l.bucket.SetBurstAt(now, burst)
	}
	l.yields.wake()
	return nil
}

// Limit returns the rate as set, in starts per second: PerSecond, to which Rate comes back after
// Slow. With [Within] and [Limiter.SetRate] it is a little below limit/window. 0: no limit, or
// invalid settings.
func (l *Limiter) Limit() float64 {
	if _, err := l.enter(); err != nil {
		return 0
	}
	defer l.mu.Unlock()
	return l.PerSecond
}

// Resume ends the pause that Pause was told, by whichever of its callers. The bucket is empty then,
// so there is no burst. The rate stays as low as Slow made it. Without a pause it does nothing; the
// time before the first start of [Within] is no pause.
func (l *Limiter) Resume() {
	now, err := l.enter()
	if err != nil {
		return
	}
	defer l.mu.Unlock()
	if !l.paused.After(now) {
		return
	}
	l.paused = time.Time{}
	l.resume(latest(now, l.born.Add(l.log.silence())), l.rate(now))
	l.yields.wake()
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// set changes the limit, and makes room for the starts that it needs. It never forgets a start: a
// later change may need it.
//
// For any two starts that are len(starts) apart there was a limit, of at most that many, that kept
// them apart by its window and the jitter: so by the shortest window at least. Thus of a start that
// the log has lost, the latest possible time is known, and that is what it is taken to be.
func (g *startLog) set(limit int, window time.Duration) {
	g.limit, g.window = limit, window
	if n := len(g.starts); g.starts != nil && n < limit {
		old := slices.Concat(g.starts[g.oldest:], g.starts[:g.oldest]) // oldest first
		g.starts, g.oldest = make([]time.Time, limit), 0
		copy(g.starts[limit-n:], old)
		for i := limit - n - 1; i >= 0 && !g.starts[limit-n].IsZero(); i-- {
			at := g.starts[i+n].Add(-g.shortest - jitter)
			if next := g.starts[i+1]; at.After(next) {
				at = next
			}
			g.starts[i] = at
		}
	}
	g.shortest = min(g.shortest, window)
}
