package store

import "time"

// A clock converts times to nanoseconds and back. Its scale agreed with the wall clock when the
// clock was made, and follows the monotonic clock from then on. So a step of the wall clock moves
// no retry and no pause of a running process.
//
// [Open] makes one clock, and the lanes that [Store.Lane] opens in that file share it. [In] makes
// one for each lane. A clock never changes.
type clock struct {
	now   func() time.Time
	epoch time.Time // what now returned when the clock was made
}

func newClock(now func() time.Time) *clock { return &clock{now: now, epoch: now()} }

// nanos is t on this scale. Stored times of retries and pauses are such numbers.
func (c *clock) nanos(t time.Time) int64 { return c.epoch.UnixNano() + int64(t.Sub(c.epoch)) }

// time is the inverse of nanos.
func (c *clock) time(ns int64) time.Time { return c.epoch.Add(time.Duration(ns - c.epoch.UnixNano())) }
