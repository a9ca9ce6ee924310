package sender_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// stalling is a queue that now and then takes longer than the window of the destination to find
// items: its disk hangs, it heals, or the process is stopped.
type stalling struct {
	*sendertest.Memory
	claims atomic.Int64
}

func (q *stalling) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	if q.claims.Add(1)%25 == 0 {
		time.Sleep(3 * time.Second)
	}
	return q.Memory.Claim(ctx, now, max, bytes)
}

// stopping is a queue for a process that is stopped, now and then, between the moment when a
// request begins and its first byte: a reading of the clock is old when the process runs again.
type stopping struct {
	*sendertest.Memory
	claims   atomic.Int64
	readings atomic.Int64 // until the clock stops; below 1: it does not
}

func (q *stopping) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Memory.Claim(ctx, now, max, bytes)
	if len(items) > 0 && q.claims.Add(1)%10 == 0 {
		q.readings.Store(2) // of the age of the token, and of the time when the request begins
	}
	return items, next, err
}

func (q *stopping) now() time.Time {
	now := time.Now()
	if q.readings.Add(-1) == 0 {
		time.Sleep(3 * time.Second)
	}
	return now
}

// A token that was granted before the queue or the process stalled is not good for a request after
// it: by then the limiter has forgotten it, and one more would start than the destination allows.
func TestStallsKeepThePace(t *testing.T) {
	for _, what := range []string{"the queue", "the process"} {
		t.Run(what, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testStalls(t, what) }) })
	}
}

func testStalls(t *testing.T, what string) {
	memory := &sendertest.Memory{}
	items := make([]sender.Item, 200)
	for i := range items {
		items[i] = sender.Item{ID: uuid.New()}
	}
	if err := memory.Append(t.Context(), items...); err != nil {
		t.Fatal(err)
	}
	var q sender.Queue = &stalling{Memory: memory}
	stops := &stopping{Memory: memory}
	if what == "the process" {
		q = stops
	}
	var mu sync.Mutex
	var starts []time.Time
	s, err := sender.New(q, sender.TransportFunc(func(context.Context, sender.Item) error {
		mu.Lock()
		defer mu.Unlock()
		starts = append(starts, time.Now())
		return nil
	}), limiter.Within(5, time.Second), nil)
	if err != nil {
		t.Fatal(err)
	}
	if q == stops {
		s.SetClock(stops.now)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	first, most := 0, 0
	for i, at := range starts {
		for at.Sub(starts[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	if len(starts) != len(items) || most > 5 {
		t.Errorf("%d requests, at most %d within a second; want %d and 5", len(starts), most, len(items))
	}
}
