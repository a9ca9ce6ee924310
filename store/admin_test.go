package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// inEveryBucket is a store with one item in each bucket, named by it.
func inEveryBucket(t *testing.T) *Store {
	t.Helper()
	s := newStore(t, nil)
	timed := event("timed", "")
	timed.Due = time.Now().Add(time.Hour)
	put(t, s, event("later", "k"), event("dead", ""), timed)
	items := claims(t, s, 2)
	settle(t, s, failed(items[0], sender.Retry, time.Now().Add(time.Minute)), failed(items[1], sender.Dead, time.Time{}))
	put(t, s, event("ready", "k"))
	return s
}

func TestListings(t *testing.T) {
	s := inEveryBucket(t)
	wantNames(t, "pending", kinds(list(t, s.Pending())), "ready", "later", "timed")
	wantNames(t, "dead", kinds(list(t, s.Dead())), "dead")
	for it := range s.Pending() {
		if it.Seq == 0 || it.Due.IsZero() != (it.Kind == "ready") {
			t.Errorf("%+v", it)
		}
		break // leaves nothing open
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	s := inEveryBucket(t)
	for _, it := range append(list(t, s.Pending()), list(t, s.Dead())...) {
		if got, err := s.Find(t.Context(), it.ID); err != nil || !same(got, it) {
			t.Errorf("%s: %+v, %v", it.Kind, got, err)
		}
	}
	if _, err := s.Find(t.Context(), uuid.New()); !errors.Is(err, sender.ErrNotFound) {
		t.Errorf("one that is not there: %v, want sender.ErrNotFound", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Find(ctx, uuid.New()); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	putAll(t, s, events(5000)) // more than a page
	last := event("last", "")
	put(t, s, last)
	if got, err := s.Find(t.Context(), last.ID); err != nil || got.Kind != "last" {
		t.Errorf("the last: %+v, %v", got, err)
	}
}

// What stays where it is, is listed once and in order, whatever moves around it.
func TestPendingWhileItemsMove(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, events(100)...)
	held := claims(t, s, 100)
	put(t, s, events(1000)...)
	var seqs []uint64
	for it, err := range s.Pending() {
		if err != nil {
			t.Fatal(err)
		}
		if it.Seq > 100 && it.Seq <= 1100 {
			seqs = append(seqs, it.Seq)
		}
		switch n := len(held); {
		case n > 2: // the loop body may write
			settle(t, s, delivered(held[n-1])...)
			settle(t, s, failed(held[n-2], sender.Retry, time.Now().Add(time.Hour)))
			put(t, s, event("new", ""))
			held = held[:n-2]
		}
	}
	if len(seqs) != 1000 || !slices.IsSorted(seqs) {
		t.Errorf("%d of those that stayed were listed, in order: %t; want 1000", len(seqs), slices.IsSorted(seqs))
	}
}

func TestDropEverywhere(t *testing.T) {
	s := inEveryBucket(t)
	items := append(list(t, s.Pending()), list(t, s.Dead())...)
	for range 2 { // a second time there is nothing left to drop
		if _, err := s.Drop(t.Context(), items...); err != nil {
			t.Fatal(err)
		}
		if c := s.Counts(); c.Dropped != 4 || c.Pending != 0 || c.Dead != 0 || c.Bytes != 0 || c.DeadBytes != 0 {
			t.Errorf("counts %+v", c)
		}
	}
	put(t, s, event("after", "k")) // the key is free
	wantNames(t, "delivered", drain(t, s), "after")
}

// An item that was listed is found where it has gone since.
func TestDropOfWhatHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		timed := event("timed", "")
		timed.Due = time.Now().Add(time.Hour)
		put(t, s, event("fails", "k"), event("dies", ""), timed, event("waits", "k"))
		stale := list(t, s.Pending())
		items := claims(t, s, 2)
		settle(t, s, failed(items[0], sender.Retry, time.Now().Add(24*time.Hour)), failed(items[1], sender.Dead, time.Time{}))
		time.Sleep(2 * time.Hour)
		if items := claims(t, s, 1); len(items) > 0 { // moves the scheduled one
			t.Fatalf("claimed %q", kinds(items))
		}
		stale = slices.DeleteFunc(stale, func(it sender.Item) bool { return it.Kind == "waits" })
		if _, err := s.Drop(t.Context(), stale...); err != nil {
			t.Fatal(err)
		}
		if c := s.Counts(); c.Dropped != 3 || c.Pending != 1 {
			t.Errorf("counts %+v", c)
		}
		wantNames(t, "left", drain(t, s), "waits")
	})
}

func TestDropInFlight(t *testing.T) {
	for _, verdict := range []sender.Verdict{sender.Delivered, sender.Retry, sender.Dead, sender.Released, sender.Expired} {
		t.Run(verdict.String(), func(t *testing.T) {
			s := newStore(t, nil)
			put(t, s, event("a1", "a"), event("a2", "a"))
			item := claims(t, s, 2)[0]
			if _, err := s.Drop(t.Context(), item); err != nil {
				t.Fatal(err)
			}
			if got := claims(t, s, 2); len(got) > 0 {
				t.Errorf("claimed %q while their key was in flight", kinds(got))
			}
			settle(t, s, sender.Outcome{Item: item, Verdict: verdict, Due: time.Now().Add(time.Hour)})
			wantNames(t, "afterwards", drain(t, s), "a2")
			if c := s.Counts(); c.Dropped != 1 || c.Delivered != 1 || c.Dead != 0 || c.Expired != 0 || c.InFlight != 0 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

func TestRevive(t *testing.T) {
	s := inEveryBucket(t)
	dead := list(t, s.Dead())
	if _, err := s.Revive(t.Context(), append(dead, dead...)...); err != nil { // once
		t.Fatal(err)
	}
	if _, err := s.Revive(t.Context(), dead...); err != nil { // no longer dead: passed over
		t.Fatal(err)
	}
	got, err := s.Find(t.Context(), dead[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Seq <= dead[0].Seq || got.Attempts != 0 || got.Failures != 0 || got.LastErr != "" || got.History != nil || !got.Created.Equal(dead[0].Created) {
		t.Errorf("revived as %+v, was %+v", got, dead[0])
	}
	if c := s.Counts(); c.Dead != 0 || c.DeadBytes != 0 || c.Put != 4 || c.Pending != 4 {
		t.Errorf("counts %+v", c)
	}
}

func TestMarkUnsentRemains(t *testing.T) {
	s := newStore(t, nil)
	now := time.Now()
	want := func(what string, mark uint64, unsent, remains bool) {
		t.Helper()
		u, err := s.Unsent(t.Context(), now, mark)
		if err != nil || u != unsent {
			t.Errorf("%s: unsent %t, want %t; %v", what, u, unsent, err)
		}
		r, err := s.Remains(mark)
		if err != nil || r != remains {
			t.Errorf("%s: remains %t, want %t; %v", what, r, remains, err)
		}
	}
	if m := mark(t, s); m != 0 {
		t.Errorf("mark of an empty lane: %d", m)
	}
	want("empty", 0, false, false)
	scheduled := event("scheduled", "")
	scheduled.Due = now.Add(time.Hour)
	put(t, s, event("a1", "a"), event("b", ""), event("a2", "a"))
	before := mark(t, s)
	put(t, s, event("new", ""))
	want("three", before, true, true)
	want("an earlier mark", 0, false, false)
	items := claims(t, s, 2)
	wantNames(t, "claimed", kinds(items), "a1", "b")
	want("in flight", before, true, true)
	settle(t, s, delivered(items[1])...)
	settle(t, s, failed(items[0], sender.Retry, now.Add(time.Hour)))
	wantNames(t, "claimed", kinds(claims(t, s, 2)), "new")
	want("a retry, and one behind it", before, false, true)
	now = now.Add(2 * time.Hour)
	want("the retry is due", before, true, true)
	items, _, err := s.Claim(t.Context(), now, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, s, delivered(items...)...)
	want("its turn", before, true, true)
	items, _, err = s.Claim(t.Context(), now, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, "claimed", kinds(items), "a2")
	settle(t, s, delivered(items...)...)
	want("all settled", before, false, false)
	want("but the new one", mark(t, s), true, true)
	put(t, s, scheduled)
	settle(t, s, delivered(list(t, s.Pending())[0])...)
	now = time.Now()
	want("scheduled", mark(t, s), false, true)
}

func mark(t *testing.T, s *Store) uint64 {
	t.Helper()
	m, err := s.Mark(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
