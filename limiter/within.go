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

	// fewest is the lowest limit with which Within has a bucket. Below it a tenth of the limit is
	// no burst, and one start is more than a tenth of the rate.
	fewest = 10
)

// Within returns a Limiter for a destination that allows limit requests in any rolling window. It
// keeps a log of the last limit starts. A request starts only when fewer than limit are in the last
// window plus 100 ms, which allows for the jitter of the network.
//
// For a limit of 10 or more there is also a bucket, which spreads the starts. Its PerSecond is 0.9
// of limit/window, or the rate of the log if that is lower, and its Burst a tenth of limit. Both
// may be lowered before the first call. For a lower limit the log works alone, and PerSecond is the
// rate of the log. After Slow the lowered rate holds, without a burst, until it has climbed back.
//
// Within does not know what an earlier process started. So nothing starts in the first 100 ms after
// the first call of any method. Where the log works alone, nothing starts in the first window plus
// 100 ms.
//
// limit is 1 to 1,000,000. window is above 0 and at most a minute. Otherwise Check and Wait return
// an error. The log takes 24 bytes for each start of limit.
func Within(limit int, window time.Duration) *Limiter {
	sustained := float64(limit) / (window + jitter).Seconds()
	l := &Limiter{PerSecond: sustained, Burst: 1, log: &startLog{limit: limit, window: window}}
	if limit >= fewest {
		l.PerSecond = min(0.9*float64(limit)/window.Seconds(), sustained)
		l.Burst = limit / 10
	}
	return l
}

// A startLog knows when the last limit requests started. A nil one sets no limit. The mutex of its
// Limiter guards it.
type startLog struct {
	limit  int
	window time.Duration
	starts []time.Time // a ring of limit times, zero where unused; made by the first add
	oldest int         // index in starts of the oldest, which is overwritten next
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

// alone reports whether the log works without a bucket.
func (g *startLog) alone() bool { return g != nil && g.limit < fewest }

// silence returns how long nothing starts at first. A bucket begins empty, so burst and rate
// together keep to the limit across a restart; only the jitter has to pass. A log alone has to wait
// until all starts of an earlier process have left the window.
func (g *startLog) silence() time.Duration {
	switch {
	case g == nil:
		return 0
	case g.alone():
		return g.window + jitter
	}
	return jitter
}

// wait returns how long until the log has room for another start; 0 or less: now.
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
