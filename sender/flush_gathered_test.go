package sender_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// slowToSettle is a queue on a slow disk. Its Settle takes a second and cannot be sped up. It notes when
// the sender tries.
type slowToSettle struct {
	*sendertest.Memory
	mu      sync.Mutex // guards flushes
	flushes []time.Time
}

func (q *slowToSettle) FlushGathered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushes = append(q.flushes, time.Now())
}

func (q *slowToSettle) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	time.Sleep(time.Second)
	return q.Memory.Settle(ctx, outcomes...)
}

// While calls are in flight, Flush calls FlushGathered at most once per check, and it checks every 20 ms.
// More often does not help Flush: its check comes no sooner.
func TestFlushGatheredOncePerCheck(t *testing.T) {
	in(t, func(l *lane) {
		const check = 20 * time.Millisecond
		q := &slowToSettle{Memory: &l.Memory}
		l.queue = q
		l.options.Concurrency = 2
		l.answer("slow", "2s+ok")
		l.answer("quick", "100ms+ok")
		l.put("slow quick") // quick is being recorded from 100 ms to 1.1 s, slow from 2 s to 3 s
		l.run()
		if took, err := l.flush(time.Minute); err != nil || took < 3*time.Second {
			l.Fatalf("Flush took %v, want 3s: %v", took, err)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		n := 0
		for i, at := range q.flushes {
			if at.Sub(l.start) >= 2*time.Second {
				break // no call is in flight any more
			}
			if n++; i > 0 && at.Sub(q.flushes[i-1]) < check {
				l.Fatalf("flush %d at %v came %v after the one before, want %v", i, at.Sub(l.start), at.Sub(q.flushes[i-1]), check)
			}
		}
		if n < 40 || n > 51 {
			l.Fatalf("%d flushes in the second of a Settle with a call in flight, want one every %v", n, check)
		}
	})
}
