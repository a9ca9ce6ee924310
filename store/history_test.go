package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

func TestLogKeepsTheLastEight(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", "k"))
	for n := range 11 {
		it := claims(t, s, 1)[0]
		if len(it.History) != min(n, 8) || it.Failures != n {
			t.Fatalf("after %d failures: %d, with a log of %d", n, it.Failures, len(it.History))
		}
		it.Attempts, it.Failures = it.Attempts+1, it.Failures+1
		it.FailedAt, it.LastErr = born.Add(time.Duration(n)), fmt.Sprint("failure ", n)
		settle(t, s, sender.Outcome{Item: it, Verdict: sender.Retry, Due: time.Now()})
	}
	it := claims(t, s, 1)[0]
	for i, f := range it.History {
		if want := fmt.Sprint("failure ", i+3); f.Reason != want || !f.At.Equal(born.Add(time.Duration(i+3))) {
			t.Errorf("entry %d is %q at %v, want %q", i, f.Reason, f.At, want)
		}
	}
	if it.LastErr != "failure 10" || !it.FailedAt.Equal(born.Add(10)) {
		t.Errorf("last failure %q at %v", it.LastErr, it.FailedAt)
	}
}

func TestLongReasonIsCut(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	o := failed(claims(t, s, 1)[0], sender.Dead, time.Time{})
	o.Item.LastErr = strings.Repeat("x", 1024) + "y"
	settle(t, s, o)
	dead := list(t, s.Dead())
	if len(dead) != 1 || dead[0].LastErr != strings.Repeat("x", 1024) {
		t.Errorf("reason of %d bytes, want the first 1024", len(dead[0].LastErr))
	}
}
