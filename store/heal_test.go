package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// faulty makes the next commit of a lane's file fail, before or after it is on disk. Arm it while no
// commit runs.
type faulty struct {
	armed atomic.Int32 // 1: before; 2: after
	then  func()       // run when it fails; nil: nothing
}

var errTold = errors.New("told to fail")

func makeFaulty(s *Store) *faulty {
	f := &faulty{}
	s.Fault(func(committed bool) error {
		want := int32(1)
		if committed {
			want = 2
		}
		if !f.armed.CompareAndSwap(want, 0) {
			return nil
		}
		if f.then != nil {
			f.then()
		}
		return errTold
	})
	return f
}

func TestFailedCommitHeals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		stored int // items of the failed Append that are there afterwards
		fail   func(s *Store)
	}{
		{"before it was on disk", 0, func(s *Store) { makeFaulty(s).armed.Store(1) }},
		{"after it was on disk", 1, func(s *Store) { makeFaulty(s).armed.Store(2) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t, nil)
			put(t, s, event("a1", "a"), event("b1", "b"), event("a2", "a"), event("c1", "c"))
			held := claims(t, s, 2)
			wantNames(t, "claimed", kinds(held), "a1", "b1")

			tt.fail(s)
			err := s.Append(t.Context(), event("new", ""))
			wantError(t, err, sender.ErrStorage)
			if err == nil || !strings.Contains(err.Error(), "the outcome is unknown") && !strings.Contains(err.Error(), "nothing was stored") {
				t.Errorf("error %q does not tell what became of the items", err)
			}
			c := s.Counts()
			if c.Err != nil || c.InFlight != 2 || c.Put != uint64(4+tt.stored) {
				t.Errorf("after healing: %+v", c)
			}
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
			want := []string{"c1", "new"}[:1+tt.stored]
			wantNames(t, "free after healing", kinds(claims(t, s, 10)), want...)
			put(t, s, event("next", ""))
			settle(t, s, delivered(held...)...)
			wantNames(t, "after the held ones were settled", drain(t, s), "a2", "next")
		})
	}
}

// A Settle that failed is repeated, and each outcome counts once.
func TestFailedSettleIsRepeated(t *testing.T) {
	for _, when := range []int32{1, 2} {
		t.Run(fmt.Sprint(when), func(t *testing.T) {
			s := newStore(t, nil)
			f := makeFaulty(s)
			put(t, s, event("a1", "a"), event("b1", "b"), event("c1", "c"), event("a2", "a"), event("d1", "d"))
			items := claims(t, s, 4)
			outcomes := []sender.Outcome{
				{Item: items[0], Verdict: sender.Delivered, PauseUntil: time.Now().Add(time.Hour)},
				failed(items[1], sender.Retry, time.Now().Add(time.Hour)),
				failed(items[2], sender.Dead, time.Time{}),
				{Item: items[3], Verdict: sender.Released},
			}
			f.armed.Store(when)
			wantError(t, s.Settle(t.Context(), outcomes...), sender.ErrStorage)
			if got := claims(t, s, 10); len(got) > 0 {
				t.Errorf("handed out before it was settled: %q", kinds(got))
			}
			for range 2 { // and once more for nothing
				settle(t, s, outcomes...)
				c := s.Counts()
				if c.Put != 5 || c.Delivered != 1 || c.Retrying != 1 || c.Dead != 1 || c.InFlight != 0 || c.Pending != 3 {
					t.Errorf("counts %+v", c)
				}
				if !s.Paused().After(time.Now()) {
					t.Error("the pause was lost")
				}
			}
		})
	}
}

func TestTwoLanesHealTogether(t *testing.T) {
	s := newStore(t, nil)
	mail, err := s.Lane("mail", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	f := makeFaulty(s)
	put(t, s, event("a", ""))
	put(t, mail, event("b", ""))
	f.armed.Store(2)
	wantError(t, mail.Append(t.Context(), event("c", "")), sender.ErrStorage)
	put(t, s, event("d", ""))
	wantNames(t, "outbox", drain(t, s), "a", "d")
	wantNames(t, "mail", drain(t, mail), "b", "c")
	if err := mail.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDatabaseSyncsEveryCommit(t *testing.T) {
	s := newStore(t, nil)
	f := makeFaulty(s)
	for _, when := range []string{"opened", "healed"} {
		if err := s.file.View(func(tx *bolt.Tx) error {
			if db := tx.DB(); db.NoSync || db.NoGrowSync {
				t.Errorf("%s with NoSync %t, NoGrowSync %t", when, db.NoSync, db.NoGrowSync)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		f.armed.Store(1)
		wantError(t, s.Append(t.Context(), event("a", "")), sender.ErrStorage)
	}
}

// Closing while commits fail ends, and loses nothing that was acknowledged.
func TestCloseAfterFailure(t *testing.T) {
	s := newStore(t, nil)
	f := makeFaulty(s)
	put(t, s, event("a", ""))
	f.armed.Store(1)
	wantError(t, s.Append(t.Context(), event("b", "")), sender.ErrStorage)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"Append": s.Append(t.Context(), event("c", "")),
		"Settle": s.Settle(t.Context(), delivered(event("c", ""))...),
		"Check":  s.Check(context.Background()),
		"Revive": second(s.Revive(t.Context(), event("c", ""))),
		"Drop":   second(s.Drop(t.Context(), event("c", ""))),
	} {
		if !errors.Is(err, sender.ErrClosed) {
			t.Errorf("%s after Close: %v, want sender.ErrClosed", what, err)
		}
	}
	if _, _, err := s.Claim(t.Context(), time.Now(), 1, 0); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("Claim after Close: %v, want sender.ErrClosed", err)
	}
	if _, err := s.Find(t.Context(), event("c", "").ID); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("Find after Close: %v, want sender.ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	wantNames(t, "afterwards", drain(t, openStore(t, s.Path(), nil)), "a")
}
