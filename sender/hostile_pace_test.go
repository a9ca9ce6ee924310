package sender_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// stalling is a queue that now and then takes longer than the window of the destination to find items: its
// disk hangs, it heals, or the process is stopped.
type stalling struct {
	*sendertest.Memory
	mu     sync.Mutex
	claims int
}

func (q *stalling) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	q.mu.Lock()
	q.claims++
	stall := q.claims%25 == 0
	q.mu.Unlock()
	if stall {
		time.Sleep(3 * time.Second)
	}
	return q.Memory.Claim(ctx, now, max, bytes)
}

// A token that was granted before the queue stalled is not good for a request after it: by then the
// limiter has forgotten it, and one more would start than the destination allows.
func TestStalledClaimKeepsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &stalling{Memory: &sendertest.Memory{}}
		items := make([]sender.Item, 200)
		for i := range items {
			items[i] = sender.Item{ID: uuid.New()}
		}
		if err := q.Append(t.Context(), items...); err != nil {
			t.Fatal(err)
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
	})
}
