package sendertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// restarting is a Memory that can crash.
type restarting struct {
	*Memory
	wake func()
}

func (r *restarting) Reopen(*testing.T) Queue {
	r.Restart()
	return r
}

// Attach makes it a queue that forgets an earlier sender, and wakes the present one.
func (r *restarting) Attach(wake func()) error {
	r.Restart()
	r.wake = wake
	return nil
}

func (r *restarting) Detach() { r.wake = func() {} }

func (r *restarting) Pause(ctx context.Context, p sender.Pause) error {
	defer r.wake()
	return r.Memory.Pause(ctx, p)
}

func (r *restarting) Resume(ctx context.Context) error {
	defer r.wake()
	return r.Memory.Resume(ctx)
}

func (r *restarting) ClearThrottle(ctx context.Context) error {
	defer r.wake()
	return r.Memory.ClearThrottle(ctx)
}

func TestMemory(t *testing.T) {
	Test(t, func(*testing.T) Queue { return &restarting{new(Memory), func() {}} })
}

// plain is a queue with none of the optional abilities.
type plain struct{ Queue }

// The suite must not demand what is optional.
func TestPlainQueue(t *testing.T) {
	Test(t, func(*testing.T) Queue { return plain{new(Memory)} })
}

func TestMemoryLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Memory)
		s := &subject{t, m}
		s.put("1 a1 a2 2")
		s.schedule("3", time.Now().Add(time.Hour))
		got := s.claims("1 a1 2")
		s.retry(time.Minute, got[0])
		s.settle(sender.Dead, got[1])
		if names := payloads(m.Pending()); !slices.Equal(names, []string{"1", "a2", "2", "3"}) {
			t.Errorf("pending are %q, want 1 a2 2 3", names)
		}
		if names := payloads(m.Dead()); !slices.Equal(names, []string{"a1"}) {
			t.Errorf("dead are %q, want a1", names)
		}
		s.ledger(sender.Counts{Put: 5, Pending: 4, Scheduled: 1, Retrying: 1, Dead: 1, InFlight: 1})
		m.Drop(4711)
		m.Revive(4711, got[0].Seq)
		s.ledger(sender.Counts{Put: 5, Pending: 4, Scheduled: 1, Retrying: 1, Dead: 1, InFlight: 1})
	})
}

func TestMemoryEndedContext(t *testing.T) {
	m := new(Memory)
	s := &subject{t, m}
	s.put("1")
	got := s.claims("1")
	s.put("2")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, claim := m.Claim(ctx, time.Now(), 1, 0)
	for op, err := range map[string]error{
		"Append": m.Append(ctx, newItem("3")),
		"Claim":  claim,
		"Settle": m.Settle(ctx, sender.Outcome{Item: got[0], Verdict: sender.Delivered}),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", op, err, context.Canceled)
		}
	}
	s.ledger(sender.Counts{Put: 2, Pending: 2, InFlight: 1})
}

func TestMemoryFailNext(t *testing.T) {
	m := new(Memory)
	s := &subject{t, m}
	s.put("1")
	o := sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Delivered}
	m.FailNext(5, errTold, false)
	s.record() // without outcomes nothing fails
	if err := m.Settle(t.Context(), o); !errors.Is(err, errTold) {
		t.Fatalf("Settle: %v, want %v", err, errTold)
	}
	m.FailNext(0, nil, false)
	s.record(o)
	s.ledger(sender.Counts{Put: 1, Delivered: 1})
}

// A retry without a Due comes at once, and is not lost between the places.
func TestMemoryRetryWithoutDue(t *testing.T) {
	s := &subject{t, new(Memory)}
	s.put("1")
	s.record(sender.Outcome{Item: s.claims("1")[0], Verdict: sender.Retry})
	s.settle(sender.Delivered, s.claims("1")...)
	s.ledger(sender.Counts{Put: 1, Delivered: 1})
}

func BenchmarkMemory(b *testing.B) {
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprintf("10000 items of %d keys", keys), func(b *testing.B) {
			for b.Loop() {
				m := new(Memory)
				for i := range 10000 {
					it := sender.Item{Key: fmt.Sprint(i % keys)}
					if err := m.Append(b.Context(), it); err != nil {
						b.Fatal(err)
					}
				}
				for m.Counts().Pending > 0 {
					items, _, err := m.Claim(b.Context(), time.Now(), 1, 0)
					if err != nil || len(items) != 1 {
						b.Fatalf("claimed %d items: %v", len(items), err)
					}
					o := sender.Outcome{Item: items[0], Verdict: sender.Delivered}
					if err := m.Settle(b.Context(), o); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
