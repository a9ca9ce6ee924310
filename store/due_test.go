package store

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// failedAndDue makes n items of keys of their own fail, and be due again.
func failedAndDue(t *testing.T, s *Store, n int) {
	t.Helper()
	for _, it := range events(n) {
		it.Key = it.Kind
		put(t, s, it)
	}
	for _, it := range claims(t, s, n) {
		settle(t, s, failed(it, sender.Retry, time.Now().Add(-time.Hour)))
	}
}

// A claim that leaves something due behind knows that there is something due.
func TestDueItemThatWasLeftIsClaimedNext(t *testing.T) {
	for name, max := range map[string]int{"looked at": 0, "one taken": 1} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, nil)
			s.order.MaxWaiting = 10
			failedAndDue(t, s, 2)
			put(t, s, keyed(11, events(1)[0].Kind)...) // as many as may wait
			now := time.Now()
			for got := 0; got < 2; {
				items, next, err := s.Claim(t.Context(), now, max, 0)
				if err != nil {
					t.Fatal(err)
				}
				if len(items) == 0 && (next.IsZero() || next.After(now)) {
					t.Fatalf("nothing is due before %v, though %d items are", next, 2-got)
				}
				got, max = got+len(items), 1
			}
		})
	}
}

// An item that is due again has its turn beside those that were read ahead, also when each claim is
// preceded by a look.
func TestDueItemDoesNotWaitForThoseReadAhead(t *testing.T) {
	s := newStore(t, nil)
	failedAndDue(t, s, 3)
	put(t, s, events(100)...)
	for range 6 {
		claims(t, s, 0)
		items := claims(t, s, 1)
		if len(items) == 1 && items[0].Failures > 0 {
			return
		}
		settle(t, s, delivered(items...)...)
	}
	t.Error("6 items of ready went before the first that was due again")
}

// hookedSealer calls hook, once, before it opens something.
type hookedSealer struct {
	Sealer
	hook atomic.Pointer[func()]
}

func (s *hookedSealer) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	if hook := s.hook.Swap(nil); hook != nil {
		(*hook)()
	}
	return s.Sealer.Open(dst, id, sealed, additional)
}

// An item that fails while a claim reads the first page of those that are due, and belongs there, is found by
// the next claim.
func TestRetryBehindThePageThatIsRead(t *testing.T) {
	o := prompt
	sealer := &hookedSealer{Sealer: newSealer(t, "k1")}
	o.Sealer = sealer
	s := newStore(t, &o)
	s.order.MaxWaiting = 1
	failedAndDue(t, s, fetchItems+10)
	put(t, s, event("late", "late"), event("waits", "late"))
	var late sender.Item
	for _, it := range claims(t, s, 2*fetchItems) {
		if it.Kind == "late" {
			late = it
			continue
		}
		settle(t, s, failed(it, sender.Released, time.Time{}))
	}
	if c := s.Counts(); late.Seq == 0 || c.InLine != 1 {
		t.Fatalf("claimed %q, and %d in line", late.Kind, c.InLine)
	}
	hook := func() { settle(t, s, failed(late, sender.Retry, time.Now().Add(-2*time.Hour))) }
	sealer.hook.Store(&hook)
	for range 3 {
		if slices.Contains(kinds(claims(t, s, 2*fetchItems)), "late") {
			return
		}
	}
	t.Error("the item that failed is due, and not claimed")
}
