package sender_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// pressing is a queue on a slow disk: its Settle takes a second and cannot be hurried. It notes when
// the sender tries.
type pressing struct {
	*sendertest.Memory
	mu      sync.Mutex // guards presses
	presses []time.Time
}

func (q *pressing) FlushGathered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.presses = append(q.presses, time.Now())
}

func (q *pressing) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	time.Sleep(time.Second)
	return q.Memory.Settle(ctx, outcomes...)
}

// While calls are in flight, Flush hurries a Settle at most once per check, and it checks every 20 ms.
// More often does not help Flush: its check comes no sooner.
func TestFlushPressesOncePerCheck(t *testing.T) {
	in(t, func(l *lane) {
		const check = 20 * time.Millisecond
		q := &pressing{Memory: &l.Memory}
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
		for i, at := range q.presses {
			if at.Sub(l.start) >= 2*time.Second {
				break // no call is in flight any more
			}
			if n++; i > 0 && at.Sub(q.presses[i-1]) < check {
				l.Fatalf("press %d at %v came %v after the one before, want %v", i, at.Sub(l.start), at.Sub(q.presses[i-1]), check)
			}
		}
		if n < 40 || n > 51 {
			l.Fatalf("%d presses in the second of a Settle with a call in flight, want one every %v", n, check)
		}
	})
}
