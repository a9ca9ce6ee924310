package store

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item that is dropped while it is released, back to where it waited for its next try, does not keep its key.
func TestReleaseBesideDrop(t *testing.T) {
	if testing.Short() {
		t.Skip("it needs its size: not with -short")
	}
	s := newStore(t, nil)
	for round := range 10 {
		put(t, s, event("dropped", "a"), event("other", "b"))
		for _, it := range claims(t, s, 2) {
			settle(t, s, failed(it, sender.Retry, time.Now().Add(-time.Hour)))
		}
		items := claims(t, s, 2)
		if len(items) != 2 {
			t.Fatalf("round %d: claimed %q, want two: a key is taken, and nothing has it", round, kinds(items))
		}
		// The other one many times over, so that the look at the file takes long.
		outcomes := slices.Repeat([]sender.Outcome{{Item: items[1], Verdict: sender.Released}}, 50_000)
		outcomes[0].Item = items[0]
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(round) * 4 * time.Millisecond)
			if _, err := s.Drop(t.Context(), items[0]); err != nil {
				t.Error(err)
			}
		})
		settle(t, s, outcomes...)
		wg.Wait()
		if _, err := s.Drop(t.Context(), items...); err != nil {
			t.Fatal(err)
		}
	}
}
