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
	s := newStore(t, nil)
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
	wantError(t, s.Append(t.Context(), event("b", "")), ErrStorage)
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	s.file.mu.Lock()
	s.file.healAt = time.Time{} // a second has passed
	s.file.mu.Unlock()
	settle(t, s, sender.Outcome{Item: held[0], Verdict: sender.Released})
	wantNames(t, "released", kinds(claims(t, s, 10)), "a")
}
