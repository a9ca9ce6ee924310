package store

import (
	"math"
	"time"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// A clock converts times to nanoseconds and back. Its scale agreed with the wall clock when the
// clock was made, and follows the monotonic clock from then on. So a step of the wall clock moves
// no retry and no pause of a running process.
//
// While the wall clock shows a time that the file cannot hold, the scale begins at the nearest one
// that leaves room for what comes: retries and pauses are then as long as they should be, but mean
// nothing to a process with another clock, which corrects them as those of any wrong clock.
//
// [Open] makes one clock, and the lanes that [Store.Lane] opens in that file share it. [In] makes
// one for each lane. A clock never changes.
type clock struct {
	now   func() time.Time
	epoch time.Time // what now returned when the clock was made
	base  int64     // the number of epoch
}

// lastBase leaves room for delays of a century before the numbers end.
const lastBase = math.MaxInt64 - int64(100*365*24*time.Hour)

func newClock(now func() time.Time) *clock {
	epoch := now()
	return &clock{now: now, epoch: epoch, base: min(format.Nanos(epoch), lastBase)}
}

// nanos is t on this scale. Stored times of retries and pauses are such numbers.
func (c *clock) nanos(t time.Time) int64 { return c.base + int64(t.Sub(c.epoch)) }

// time is the inverse of nanos.
func (c *clock) time(ns int64) time.Time { return c.epoch.Add(time.Duration(ns - c.base)) }
