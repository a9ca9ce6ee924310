package sender_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// late is a queue whose process is stopped once, for a while, between its token and its first request.
type late struct {
	*sendertest.Memory
	stop     time.Duration
	once     atomic.Bool
	readings atomic.Int64 // of the clock, until the process stops; below 1: it does not
}

func (q *late) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Memory.Claim(ctx, now, max, bytes)
	if len(items) > 0 && !q.once.Swap(true) {
		q.readings.Store(2) // of the age of the token, and of the time when the request begins
	}
	return items, next, err
}

func (q *late) now() time.Time {
	now := time.Now()
	if q.readings.Add(-1) == 0 {
		time.Sleep(q.stop)
	}
	return now
}

// A request may start until 20 ms after its token was granted. After that it is not made: its item goes
// back and is sent with a token of its own.
func TestAgeOfAToken(t *testing.T) {
	for _, c := range []struct {
		stop     time.Duration
		released int
	}{
		{0, 0},
		{20 * time.Millisecond, 0},
		{20*time.Millisecond + 1, 1},
		{25 * time.Millisecond, 1},
	} {
		t.Run(fmt.Sprint(c.stop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &late{Memory: &sendertest.Memory{}, stop: c.stop}
				if err := q.Append(t.Context(), sender.Item{ID: uuid.New()}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				sent := 0
				transport := sender.TransportFunc(func(context.Context, sender.Item) error { sent++; return nil })
				released := 0
				l := &metered{}
				s, err := sender.New(q, transport, l, &sender.Options{Concurrency: 1, OnOutcome: func(o sender.Outcome, _ time.Duration) {
					switch o.Verdict {
					case sender.Released:
						released++
					case sender.Delivered:
						cancel()
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				s.SetClock(q.now)
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				granted, _, _ := l.count()
				if sent != 1 || released != c.released || granted != 1+c.released {
					t.Errorf("sent %d times, released %d times, %d tokens; want 1, %d and %d", sent, released, granted, c.released, 1+c.released)
				}
			})
		})
	}
}
