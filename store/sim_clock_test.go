package store_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/store"
)

// A machine is the clock of the simulated machine: its monotonic clock is that of the bubble, and its
// wall clock can be stepped. In a bubble times have no monotonic reading, so that whatever crosses
// between the store, which lives by the machine, and the rest, which lives by the bubble, is translated.
type machine struct {
	t    testing.TB
	real time.Time // a reading from outside the bubble
	zero time.Time // of the bubble, at the same moment
	off  atomic.Int64
}

func (m *machine) step(d time.Duration) { m.off.Add(int64(d.Truncate(time.Second))) }

func (m *machine) offset() time.Duration { return time.Duration(m.off.Load()) }

func (m *machine) now() time.Time { return m.in(time.Now()) }

// in translates a time of the bubble; zero stays zero.
func (m *machine) in(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return store.StepWall(m.t, m.real.Add(t.Sub(m.zero)), m.offset())
}

// out translates a time of the machine: by the monotonic clock, or, where it has no reading of that,
// by the wall clock as it is now.
func (m *machine) out(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return m.zero.Add(t.Sub(m.in(m.zero)))
}
