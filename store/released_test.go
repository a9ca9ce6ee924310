package store

import (
	"os"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A file that could not be healed is healed by the next Settle, also by one that only releases: nothing
// else is written while its sender waits for that.
func TestReleaseHeals(t *testing.T) {
	s, forward := clocked(t, &prompt)
	f := makeFaulty(s)
	put(t, s, event("a", ""))
	held := claims(t, s, 1)
	path := s.Path()
	f.then = func() {
		if err := os.Rename(path, path+".away"); err != nil {
			t.Error(err)
		}
	}
	f.armed.Store(1)
	wantError(t, s.Append(t.Context(), event("b", "")), sender.ErrStorage)
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	forward(time.Second)
	settle(t, s, sender.Outcome{Item: held[0], Verdict: sender.Released})
	wantNames(t, "released", kinds(claims(t, s, 10)), "a")
}

// A claim may see a commit before it is learnt of. What it gives away then is not given away again.
func TestDropSeenByAClaim(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a1", "a"), event("a2", "a"), event("a3", "a"))
	a1 := claims(t, s, 1)[0]
	settle(t, s, failed(a1, sender.Retry, time.Now().Add(time.Hour)))
	s.order.Invalidate(nil) // as after a failed commit
	var meanwhile []sender.Item
	s.Fault(func(committed bool) error {
		if committed {
			meanwhile = claims(t, s, 10)
		}
		return nil
	})
	if _, err := s.Drop(t.Context(), a1); err != nil {
		t.Fatal(err)
	}
	s.Fault(nil)
	wantNames(t, "claimed while the commit was on disk", kinds(meanwhile), "a2")
	wantNames(t, "claimed after it", kinds(claims(t, s, 10)))
	settle(t, s, delivered(meanwhile...)...)
	wantNames(t, "in the end", drain(t, s), "a3")
}
