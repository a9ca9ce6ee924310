package sender_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// metered is a Limiter that grants one request each interval, and notes what it is told.
type metered struct {
	interval time.Duration // 0: no limit

	mu      sync.Mutex
	next    time.Time
	waits   int
	granted int
	slowed  int
	paused  []time.Time
	err     error // what Wait returns
}

func (m *metered) Wait(ctx context.Context) error {
	m.mu.Lock()
	m.waits++
	err, now := m.err, time.Now()
	at := m.next
	if at.Before(now) {
		at = now
	}
	if err == nil {
		m.next = at.Add(m.interval)
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-time.After(time.Until(at)):
		m.mu.Lock()
		m.granted++
		m.mu.Unlock()
		return nil
	case <-ctx.Done():
		m.mu.Lock()
		m.next = m.next.Add(-m.interval)
		m.mu.Unlock()
		return ctx.Err()
	}
}

func (m *metered) Pause(until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = append(m.paused, until)
}

func (m *metered) Slow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.slowed++
}

func (m *metered) Rate() float64 { return 0 }

func (m *metered) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *metered) waited() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waits
}

func (m *metered) count() (granted, slowed, paused int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.granted, m.slowed, len(m.paused)
}

// watched counts the calls into a Memory.
type watched struct {
	*sendertest.Memory
	claims   atomic.Int64
	settles  atomic.Int64
	claimErr atomic.Pointer[error]
}

func (w *watched) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	w.claims.Add(1)
	if err := w.claimErr.Load(); err != nil {
		return nil, time.Time{}, *err
	}
	return w.Memory.Claim(ctx, now, max, bytes)
}

func (w *watched) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	w.settles.Add(1)
	return w.Memory.Settle(ctx, outcomes...)
}

// marking makes a Memory a Marker.
type marking struct {
	*sendertest.Memory
	mu     sync.Mutex
	held   map[uint64]bool
	checks int
	err    error // what Unsent returns
}

func (m *marking) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	items, next, err := m.Memory.Claim(ctx, now, max, bytes)
	for _, it := range items {
		m.held[it.Seq] = true
	}
	return items, next, err
}

func (m *marking) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.Memory.Settle(ctx, outcomes...)
	for _, o := range outcomes {
		if err == nil {
			delete(m.held, o.Item.Seq)
		}
	}
	return err
}

// asked returns how often Unsent was called.
func (m *marking) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.checks
}

func (m *marking) Mark(context.Context, time.Time) (mark uint64, err error) {
	for _, it := range append(m.Pending(), m.Dead()...) {
		mark = max(mark, it.Seq)
	}
	return mark, nil
}

func (m *marking) Unsent(_ context.Context, now time.Time, mark uint64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks++
	if m.err != nil {
		return false, m.err
	}
	taken := make(map[string]bool)
	for _, it := range m.Pending() {
		if it.Seq > mark {
			break
		}
		if m.held[it.Seq] || !it.Due.After(now) && (it.Key == "" || !taken[it.Key]) {
			return true, nil
		}
		taken[it.Key] = true
	}
	return false, nil
}

// gathering is a queue whose Settle gathers for a second, until FlushGathered is called.
type gathering struct {
	*sendertest.Memory
	flushed chan struct{}
}

func (g *gathering) FlushGathered() {
	for {
		select {
		case g.flushed <- struct{}{}: // a Settle waits
		default:
			return
		}
	}
}

func (g *gathering) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	select {
	case <-time.After(time.Second):
	case <-g.flushed:
	}
	return g.Memory.Settle(ctx, outcomes...)
}

// clock is the time of the bubble with a wall clock that can be set. Times in a bubble have no
// monotonic reading; those of a clock do, as outside.
type clock struct{ offset atomic.Int64 } // of the wall clock, in seconds

// now builds a time.Time as time.Now does: its first word has a mark, 33 bits of seconds since 1885
// by the wall clock and 30 bits of nanoseconds, the second is the monotonic reading.
func (c *clock) now() time.Time {
	t := time.Now()
	monotonic := t.UnixNano()
	wall := t.Add(time.Duration(c.offset.Load()) * time.Second)
	since1885 := wall.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	words := (*[2]uint64)(unsafe.Pointer(&t))
	words[0] = 1<<63 | uint64(since1885)<<30 | uint64(wall.Nanosecond())
	words[1] = uint64(monotonic)
	return t
}

func (c *clock) step(d time.Duration) { c.offset.Add(int64(d / time.Second)) }

// The trick must keep working, or the tests that use it prove nothing.
func TestClock(t *testing.T) {
	var c clock
	before := c.now()
	c.step(-10 * 365 * 24 * time.Hour)
	after := c.now()
	if years := before.Year() - after.Year(); years != 10 && years != 9 {
		t.Errorf("the wall clock was set from %v to %v", before, after)
	}
	if d := after.Sub(before); d < 0 || d > time.Minute {
		t.Errorf("by the monotonic clock %v have passed", d)
	}
}
