package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// Items that become due at once are moved beside Claim, which hands out others meanwhile.
func TestDueItemsAreMovedWhileOthersAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		const n = 5 * maxMoves
		scheduled := events(n)
		for i := range scheduled {
			scheduled[i].Due = time.Now().Add(time.Hour)
		}
		putAll(t, s, scheduled)
		put(t, s, event("a", ""), event("b", ""), event("c", ""))
		time.Sleep(time.Hour)
		commits := make(chan struct{})
		s.Fault(func(committed bool) error {
			if !committed {
				<-commits
			}
			return nil
		})
		for _, want := range []string{"a", "b", "c"} { // no commit ends meanwhile
			items, next, err := s.Claim(t.Context(), time.Now(), 1, 0)
			if err != nil || next.After(time.Now()) {
				t.Fatal(next, err)
			}
			wantNames(t, "claimed", kinds(items), want)
		}
		close(commits)
		synctest.Wait() // without another Claim
		if c := s.Counts(); c.Scheduled != 0 || c.Ready != n || c.InFlight != 3 {
			t.Errorf("counts %+v", c)
		}
		items := claims(t, s, n)
		wantNames(t, "in their order", kinds(items)[:3], kinds(scheduled)[:3]...)
		s.Fault(nil)
	})
}

// Close waits for what moves due items, and leaves the rest for the next Open.
func TestCloseWhileDueItemsAreMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		lane, err := s.Lane("other", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range []*Store{lane, s} {
			const n = 3 * maxMoves
			scheduled := events(n)
			for i := range scheduled {
				scheduled[i].Due = time.Now().Add(time.Hour)
			}
			putAll(t, l, scheduled)
			put(t, l, event("a", ""))
			time.Sleep(time.Hour)
			first, reached := make(chan struct{}), make(chan struct{}, 10)
			s.Fault(func(committed bool) error {
				if !committed {
					reached <- struct{}{}
					<-first
				}
				return nil
			})
			claims(t, l, 1)
			<-reached
			closed := make(chan error)
			go func() { closed <- l.Close() }()
			synctest.Wait()
			select {
			case err := <-closed:
				t.Fatal("Close did not wait for the commit: ", err)
			default:
			}
			close(first)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if len(reached) > 1 {
				t.Errorf("%d commits after Close", len(reached))
			}
			if l == lane {
				s.Fault(nil)
			}
		}
		again := openStore(t, s.Path(), nil)
		if c := again.Counts(); c.Pending != 3*maxMoves+1 || c.Scheduled == 0 {
			t.Errorf("counts %+v", c)
		}
	})
}
