package limiter

import (
	"fmt"
	"time"
)

const (
	// jitter is by how much the network may delay one request more than another without breaking
	// the promise of Within.
	jitter = 100 * time.Millisecond

	maxLimit  = 1_000_000   // 24 MB of log
	maxWindow = time.Minute // a process that restarts more often than this would never send

	// fewest is the lowest limit for which Within has a bucket. Below it a tenth of the limit is
	// no burst, and one start is more than a tenth of the rate.
	fewest = 10
)

// Within returns a Limiter for a destination that allows limit requests in any rolling window. It
// counts them as the destination does: a log of the last limit starts, over the window and 100 ms for
// the jitter of the network, lets no further request start while it is full.
//
// A bucket in front of the log only smooths. PerSecond is 0.9 of limit/window, or what the log
// sustains if that is less, and Burst a tenth of limit; both may be lowered before the first call.
// Below a limit of 10 the log works alone, and PerSecond is what it sustains, until Slow: then the
// lowered rate holds, without a burst, until it has climbed back.
//
// What an earlier process started is unknown, so nothing starts in the first 100 ms after the first
// call of any method, or, where the log works alone, in the first window and 100 ms.
//
// The limit is 1 to 1,000,000 and the window above 0 and at most a minute, else Check and Wait return
// an error. A log takes 24 bytes for each start of limit.
func Within(limit int, window time.Duration) *Limiter {
	sustained := float64(limit) / (window + jitter).Seconds()
	l := &Limiter{PerSecond: sustained, Burst: 1, log: &startLog{limit: limit, window: window}}
	if limit >= fewest {
		l.PerSecond = min(0.9*float64(limit)/window.Seconds(), sustained)
		l.Burst = limit / 10
	}
	return l
}

// A startLog knows when the last starts were. A nil one is no log and sets no limit.
// The mutex of its Limiter guards it.
type startLog struct {
	limit  int
	window time.Duration
	starts []time.Time // a ring of limit instants, the zero Time where there was none yet; made by the first add
	oldest int         // index in starts, overwritten next
}

func (g *startLog) check() error {
	switch {
	case g == nil:
		return nil
	case g.limit < 1 || g.limit > maxLimit:
		return fmt.Errorf("limiter: Within: limit is %d, must be from 1 to %d", g.limit, maxLimit)
	case g.window <= 0 || g.window > maxWindow:
		return fmt.Errorf("limiter: Within: window is %v, must be above 0 and at most %v", g.window, maxWindow)
	}
	return nil
}

// alone says whether the log works without a bucket.
func (g *startLog) alone() bool { return g != nil && g.limit < fewest }

// silence returns how long nothing starts at first. A bucket begins empty, so that burst and rate
// together keep to the limit even across a restart, but for the jitter; a log alone has to wait until
// whatever an earlier process started is out of the window.
func (g *startLog) silence() time.Duration {
	switch {
	case g == nil:
		return 0
	case g.alone():
		return g.window + jitter
	}
	return jitter
}

// wait returns how long until the log has room for another start; not above 0: it has.
func (g *startLog) wait(now time.Time) time.Duration {
	if g == nil || g.starts == nil {
		return 0
	}
	return g.starts[g.oldest].Add(g.window + jitter).Sub(now)
}

// add records a start.
func (g *startLog) add(now time.Time) {
	if g == nil {
		return
	}
	if g.starts == nil {
		g.starts = make([]time.Time, g.limit)
	}
	g.starts[g.oldest] = now
	g.oldest = (g.oldest + 1) % g.limit
}
