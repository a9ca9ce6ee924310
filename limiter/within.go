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
	l := &Limiter{log: &startLog{limit: limit, window: window, shortest: window}}
	l.PerSecond, l.Burst = bucketFor(limit, window)
	return l
}

// bucketFor returns the settings of the bucket that spreads the starts.
func bucketFor(limit int, window time.Duration) (perSecond float64, burst int) {
	sustained := float64(limit) / (window + jitter).Seconds()
	if limit < fewest {
		return sustained, 1
	}
	return min(0.9*float64(limit)/window.Seconds(), sustained), limit / 10
}

// A startLog knows when the last requests started, at least limit of them. A nil one sets no limit.
// The mutex of its Limiter guards it.
type startLog struct {
	limit    int
	window   time.Duration
	shortest time.Duration // the shortest window there ever was
	starts   []time.Time   // a ring of at least limit times, zero where unused; made by the first add
	oldest   int           // index in starts of the oldest, which is overwritten next
}

func (g *startLog) check() error {
	if g == nil {
		return nil
	}
	return checkWindow("Within", g.limit, g.window)
}

// checkWindow returns what is wrong with the arguments of a function.
func checkWindow(function string, limit int, window time.Duration) error {
	switch {
	case limit < 1 || limit > maxLimit:
		return fmt.Errorf("limiter: %s: limit is %d, must be from 1 to %d", function, limit, maxLimit)
	case window <= 0 || window > maxWindow:
		return fmt.Errorf("limiter: %s: window is %v, must be above 0 and at most %v", function, window, maxWindow)
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
	// The start that is limit before the next one.
	i := (g.oldest + len(g.starts) - g.limit) % len(g.starts)
	return g.starts[i].Add(g.window + jitter).Sub(now)
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
	g.oldest = (g.oldest + 1) % len(g.starts)
}
