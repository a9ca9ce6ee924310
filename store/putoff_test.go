package store

import (
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item that is put off has not failed: what it failed of before stays its last failure, and where
// there was none the reason is kept all the same.
func TestPutOffIsNoFailure(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("new", ""), event("failed", ""))
	now := time.Now()
	for _, it := range claims(t, s, 2) {
		if it.Kind == "failed" {
			settle(t, s, failed(it, sender.Retry, now))
			continue
		}
		it.LastErr = "no transport"
		settle(t, s, sender.Outcome{Item: it, Verdict: sender.Retry, Due: now})
	}
	for _, it := range claims(t, s, 2) {
		switch it.Kind {
		case "new":
			if it.LastErr != "no transport" || !it.FailedAt.IsZero() || len(it.History) != 1 {
				t.Errorf("put off and never failed: %+v", it)
			}
		case "failed":
			history := it.History
			it.LastErr = "no transport"
			settle(t, s, sender.Outcome{Item: it, Verdict: sender.Retry, Due: now})
			again := claims(t, s, 1)[0]
			if again.LastErr != "refused failed" || len(again.History) != len(history) || !again.FailedAt.Equal(it.FailedAt) {
				t.Errorf("failed, then put off: %+v", again)
			}
		}
	}
}

// What was due when Mark was called counts as put before it.
func TestMarkMakesScheduledItemsReady(t *testing.T) {
	s := newStore(t, nil)
	for range 3 {
		it := event("scheduled", "")
		it.Due = time.Now().Add(time.Hour)
		put(t, s, it)
	}
	if s.Counts().Scheduled != 3 {
		t.Fatalf("%+v", s.Counts())
	}
	m, err := s.Mark(t.Context(), time.Now().Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Scheduled != 0 || c.Ready != 3 {
		t.Errorf("%+v", c)
	}
	unsent, err := s.Unsent(t.Context(), time.Now(), m)
	if err != nil || !unsent {
		t.Errorf("unsent %t, %v", unsent, err)
	}
}
