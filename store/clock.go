package store

import "time"

// A clock places moments on a scale of nanoseconds that runs with the monotonic clock and agreed with the
// wall when the file was opened, so that a wall clock that steps moves no retry and no pause of a running
// process. All lanes of a file share one. It never changes.
type clock struct {
	now   func() time.Time
	epoch time.Time // a reading of now
}

func newClock(now func() time.Time) *clock { return &clock{now: now, epoch: now()} }

func (c *clock) nanos(t time.Time) int64 { return c.epoch.UnixNano() + int64(t.Sub(c.epoch)) }

// time is the inverse of nanos.
func (c *clock) time(ns int64) time.Time { return c.epoch.Add(time.Duration(ns - c.epoch.UnixNano())) }
