package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// dies makes n dead items, named by their number.
func dies(t *testing.T, s *Store, n int) []sender.Item {
	t.Helper()
	putAll(t, s, events(n))
	for left := n; left > 0; {
		items := claims(t, s, 500)
		outcomes := make([]sender.Outcome, len(items))
		for i := range items {
			outcomes[i] = failed(items[i], sender.Dead, time.Time{})
		}
		settle(t, s, outcomes...)
		left -= len(items)
	}
	return list(t, s.Dead())
}

// gate is a Sealer whose Open waits, once it is shut, until the gate is opened.
type gate struct {
	Sealer
	shut chan struct{} // nil: open
}

func (g *gate) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	if g.shut != nil {
		<-g.shut
	}
	return g.Sealer.Open(dst, id, sealed, additional)
}

// A call whose context has ended may still be in a commit. What the caller does to its slice then
// changes nothing.
func TestDropAndReviveKeepNothingOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{Sealer: newSealer(t, "k1")}
		s := newStore(t, &Options{Gather: -1, LockTimeout: -1, Sealer: g})
		dead := dies(t, s, 6)
		first := make(chan struct{})
		s.Fault(func(committed bool) error {
			if !committed {
				<-first
			}
			return nil
		})
		go put(t, s, event("first", ""))
		synctest.Wait() // its commit waits in Fault, so that the next two share the one after it
		g.shut = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		revived, dropped := slices.Clone(dead[:2]), slices.Clone(dead[2:4])
		errs := make(chan error, 2)
		go func() { errs <- second(s.Revive(ctx, revived...)) }()
		synctest.Wait()
		go func() { errs <- second(s.Drop(ctx, dropped...)) }()
		synctest.Wait()
		close(first)
		synctest.Wait() // Revive waits at the gate, inside the commit
		cancel()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "outcome is unknown") {
				t.Errorf("a call whose context ended during the commit: %v", err)
			}
		}
		revived[1], dropped[0], dropped[1] = dead[4], dead[5], dead[5]
		close(g.shut)
		synctest.Wait()
		wantNames(t, "dead", kinds(list(t, s.Dead())), dead[4].Kind, dead[5].Kind)
		wantNames(t, "pending", kinds(list(t, s.Pending())), "first", dead[0].Kind, dead[1].Kind)
		s.Fault(nil)
	})
}

// An item is what its ID says. What has its Seq in this lane is another item.
func TestDropGoesByID(t *testing.T) {
	s := inEveryBucket(t)
	items := append(list(t, s.Pending()), list(t, s.Dead())...)
	for _, it := range items {
		it.ID = uuid.New()
		if n, err := s.Drop(t.Context(), it); n != 0 || err != nil {
			t.Errorf("Drop of an item of another lane in the place of %s: %d, %v", it.Kind, n, err)
		}
		if n, err := s.Revive(t.Context(), it); n != 0 || err != nil {
			t.Errorf("Revive of an item of another lane in the place of %s: %d, %v", it.Kind, n, err)
		}
	}
	if n, err := s.Drop(t.Context(), sender.Item{}, sender.Item{ID: uuid.New()}); n != 0 || err != nil {
		t.Errorf("Drop of what names nothing: %d, %v", n, err)
	}
	if c := s.Counts(); c.Dropped != 0 || c.Pending != 3 || c.Dead != 1 {
		t.Fatalf("counts %+v", c)
	}
	dead := items[3]
	for i, want := range []int{1, 0} {
		if n, err := s.Revive(t.Context(), sender.Item{ID: dead.ID}); n != want || err != nil {
			t.Errorf("Revive by ID, call %d: %d, %v, want %d", i+1, n, err, want)
		}
	}
	for _, it := range items {
		if n, err := s.Drop(t.Context(), sender.Item{ID: it.ID}, sender.Item{ID: it.ID}); n != 1 || err != nil {
			t.Errorf("Drop of %s by ID, named twice: %d, %v, want 1", it.Kind, n, err)
		}
	}
	if c := s.Counts(); c.Dropped != 4 || c.Pending != 0 || c.Dead != 0 {
		t.Errorf("counts %+v", c)
	}
}

// Of two items with one ID, the ID alone names the first, as in Find, and the Seq tells them apart.
func TestDropOfOneOfTwoWithTheSameID(t *testing.T) {
	s := newStore(t, nil)
	first, second := event("first", ""), event("second", "")
	second.ID = first.ID
	third := second
	third.Kind = "third"
	put(t, s, first, second, third)
	items := list(t, s.Pending())
	if n, err := s.Drop(t.Context(), items[1]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantNames(t, "without the second", kinds(list(t, s.Pending())), "first", "third")
	if n, err := s.Drop(t.Context(), sender.Item{ID: first.ID}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantNames(t, "without the first", kinds(list(t, s.Pending())), "third")
}

func TestReviveFollowsTheOrderOfTheLane(t *testing.T) {
	s := newStore(t, nil)
	dead := dies(t, s, 3000)
	want := kinds(dead)
	slices.Reverse(dead)
	dead = append(dead, dead[:5]...)
	if n, err := s.Revive(t.Context(), dead...); n != 3000 || err != nil {
		t.Fatalf("revived %d, %v", n, err)
	}
	wantNames(t, "revived", kinds(list(t, s.Pending())), want...)
}

// An item that moved after it was looked for, and before the commit, is looked for again.
func TestDropOfWhatMovesBeforeTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		put(t, s, event("fails", "k"), event("delivered", ""))
		items := claims(t, s, 2)
		first := make(chan struct{})
		s.Fault(func(committed bool) error {
			if !committed {
				<-first
			}
			return nil
		})
		go settle(t, s, failed(items[0], sender.Retry, time.Now().Add(time.Hour)), delivered(items[1])[0])
		synctest.Wait() // the outcomes are in a commit that is not on disk yet
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n, err := s.Drop(t.Context(), items...); n != 1 || err != nil {
				t.Errorf("dropped %d, %v, want 1", n, err)
			}
		}()
		synctest.Wait()
		close(first)
		<-done
		if c := s.Counts(); c.Pending != 0 || c.Dropped != 1 || c.Delivered != 1 {
			t.Errorf("counts %+v", c)
		}
		s.Fault(nil)
	})
}
