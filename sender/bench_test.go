package sender_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// countdown is a Queue of n items that are all due. It costs next to nothing, and allocates
// nothing.
type countdown struct {
	mu            sync.Mutex
	left, settled int
	done          func()
	items         [4096]sender.Item // handed out in turn; more than may be in flight and unsettled
	next          int
}

func (q *countdown) Claim(_ context.Context, now time.Time, max, _ int) ([]sender.Item, time.Time, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(max, q.left)
	if q.next+n > len(q.items) {
		q.next = 0
	}
	items := q.items[q.next : q.next+n : q.next+n]
	q.next += n
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

// listening is a transport that costs nothing, and asks when its context ends.
type listening struct{}

func (listening) Send(ctx context.Context, _ sender.Item) error {
	ctx.Done()
	return nil
}

// drain sends n items, which must all be settled.
func drain(tb testing.TB, n int, t sender.Transport, o *sender.Options) {
	ctx, cancel := context.WithCancel(tb.Context())
	q := &countdown{left: n, settled: n, done: cancel}
	s, err := sender.New(q, t, nil, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		tb.Fatal(err)
	}
	if q.settled != 0 {
		tb.Fatalf("%d items are not settled", q.settled)
	}
}

// BenchmarkDrain is what the sender itself costs for each item.
func BenchmarkDrain(b *testing.B) {
	for _, c := range []struct {
		name        string
		transport   sender.Transport
		concurrency int
	}{
		{"single", free(1), 0},
		{"single/concurrency=1", free(1), 1},
		{"single/concurrency=100", free(1), 100},
		{"listening", listening{}, 0},
		{"batch=100", freeBatch{100}, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			drain(b, b.N, c.transport, &sender.Options{Concurrency: c.concurrency})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// An item that is sent alone costs no more than a few allocations.
func TestAllocations(t *testing.T) {
	const n = 10000
	for _, concurrency := range []int{1, 10, 100} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		drain(t, n, free(1), &sender.Options{Concurrency: concurrency})
		runtime.ReadMemStats(&after)
		if per := float64(after.Mallocs-before.Mallocs) / n; per > 3 {
			t.Errorf("%.1f allocations for each item at Concurrency %d, want 3 at most", per, concurrency)
		}
	}
}
