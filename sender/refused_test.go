package sender_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// Two items that always answer 403, in flight at once while others succeed: the sender remembers both,
// and charges the second failure to each.
func TestTwoRefusedItemsAreCharged(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency, l.options.MaxAttempts = 3, 2
		l.options.Backoff = steady(time.Hour)
		l.answer("a", "2s+403")
		l.answer("b", "2s+403")
		l.answer("good", "2500ms+ok") // after the refusals, so that the destination is known to work
		l.put("a b good")
		l.run()
		l.wait(time.Minute)
		l.ends("delivered 1, pending a b")
		for _, name := range []string{"a", "b"} {
			if it := l.item(name); it.Attempts != 1 || it.Failures != 1 {
				l.Errorf("%s: %d attempts charged of %d failures, want 1 of 1", name, it.Attempts, it.Failures)
			}
		}
	})
}

// The sender remembers ten thousand refused items, and no more, so that its memory is bounded.
func TestRefusedItemsAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("ten thousand items: not with -short")
	}
	for _, c := range []struct {
		items, least, most int // how many are charged after the second refusal
	}{
		{10_000, 10_000, 10_000},
		{10_001, 1, 10_000},
	} {
		t.Run(fmt.Sprint(c.items), func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.Concurrency, l.batch = 2, c.items
				l.options.Backoff = steady(time.Hour)
				l.answer("good", "1500ms+ok") // after the refusals, and before the probe
				l.answer("first", "1s+403")
				l.answer("*", "403")
				l.put("good")
				l.run()
				synctest.Wait() // good is in flight
				items := make([]sender.Item, c.items)
				for i := range items {
					items[i] = sender.Item{ID: uuid.New(), Created: time.Now()}
				}
				items[0].Payload = []byte("first")
				l.append(items...) // at once, so that they are one batch
				l.wait(time.Minute)
				if n := len(l.requests()); n != 3 {
					l.Fatalf("%d requests, want good, the batch and the probe, which is the batch again", n)
				}
				charged := 0
				for _, it := range l.Pending() {
					charged += it.Attempts
				}
				if charged < c.least || charged > c.most {
					l.Errorf("%d failures of %d items were charged, want %d to %d", charged, c.items, c.least, c.most)
				}
			})
		})
	}
}
