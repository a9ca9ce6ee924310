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

// lateClaim is a queue that takes its time to hand out the first item, as one does that has to move
// what was scheduled on a slow disk.
type lateClaim struct {
	*sendertest.Memory
	once sync.Once
}

func (q *lateClaim) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if max > 0 {
		q.once.Do(func() { time.Sleep(1200 * time.Millisecond) })
	}
	return q.Memory.Claim(ctx, now, max, maxBytes)
}

// A token that was granted before a slow claim is not used after it: it counts for another window.
func TestSlowClaimKeepsTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4
		q := &lateClaim{Memory: &sendertest.Memory{}}
		for range 3 * limit {
			if err := q.Append(t.Context(), sender.Item{ID: uuid.New(), Created: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		var mu sync.Mutex
		var starts []time.Time
		s, err := sender.New(q, sender.TransportFunc(func(context.Context, sender.Item) error {
			mu.Lock()
			defer mu.Unlock()
			starts = append(starts, time.Now())
			return nil
		}), limiter.Within(limit, time.Second), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(starts) != 3*limit {
			t.Fatalf("%d requests, want %d", len(starts), 3*limit)
		}
		for i := limit; i < len(starts); i++ {
			if span := starts[i].Sub(starts[i-limit]); span < time.Second {
				t.Errorf("%d requests within %v, %d a second allowed", limit+1, span, limit)
			}
		}
	})
}

// What expires while it is being recorded is not sent.
func TestAtMostOnceExpiresWhileRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &slowRecord{Memory: &sendertest.Memory{}, takes: time.Second}
		end := time.Now().Add(500 * time.Millisecond)
		if err := q.Append(t.Context(), sender.Item{ID: uuid.New(), Created: time.Now(), Expires: end}); err != nil {
			t.Fatal(err)
		}
		s, err := sender.New(q, sender.TransportFunc(func(context.Context, sender.Item) error {
			t.Errorf("sent %v after its end", time.Since(end))
			return nil
		}), nil, &sender.Options{AtMostOnce: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if c := q.Counts(); c.Expired != 1 {
			t.Errorf("%+v, want one expired", c)
		}
	})
}
