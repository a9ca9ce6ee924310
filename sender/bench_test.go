package sender_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// countdown is a Queue of n items that are all due, and costs next to nothing.
type countdown struct {
	mu            sync.Mutex
	left, settled int
	done          func()
}

func (q *countdown) Claim(_ context.Context, now time.Time, max, _ int) ([]sender.Item, time.Time, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(max, q.left)
	var items []sender.Item
	if n > 0 {
		items = make([]sender.Item, n)
	}
	for i := range items {
		items[i].Seq = uint64(q.left - i)
	}
	if q.left -= n; q.left > 0 {
		return items, now, nil
	}
	return items, time.Time{}, nil
}

func (q *countdown) Settle(_ context.Context, outcomes ...sender.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range outcomes {
		if o.Verdict == sender.Delivered {
			q.settled--
		}
	}
	if q.settled == 0 && len(outcomes) > 0 {
		q.done()
	}
	return nil
}

func (q *countdown) Paused() time.Time { return time.Time{} }

// free is a transport that costs nothing.
type free int

func (f free) Send(context.Context, sender.Item) error { return nil }

type freeBatch struct{ free }

func (f freeBatch) BatchLimit() (items, bytes int) { return int(f.free), 0 }
func (f freeBatch) SendBatch(_ context.Context, items []sender.Item) []error {
	return make([]error, len(items))
}

// BenchmarkDrain is what the sender itself costs for each item.
func BenchmarkDrain(b *testing.B) {
	for name, t := range map[string]sender.Transport{"single": free(1), "batch=100": freeBatch{100}} {
		b.Run(name, func(b *testing.B) {
			ctx, cancel := context.WithCancel(b.Context())
			q := &countdown{left: b.N, settled: b.N, done: cancel}
			s, err := sender.New(q, t, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := s.Run(ctx); err != nil {
				b.Fatal(err)
			}
			if q.settled != 0 {
				b.Fatalf("%d items are not settled", q.settled)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}
