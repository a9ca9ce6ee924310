package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// plainAndSealed runs a test over a plain lane and over a sealed one.
func plainAndSealed(t *testing.T, test func(t *testing.T, o *Options)) {
	for name, o := range map[string]*Options{"plain": &prompt, "sealed": sealed(t, "k1")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, o)
		})
	}
}

// erase erases a key and wants n items removed.
func erase(t *testing.T, s *Store, key string, n int) {
	t.Helper()
	before := s.Counts().Dropped
	got, err := s.Erase(t.Context(), key)
	if s.file.CanCompact() == errors.Is(err, errors.ErrUnsupported) || s.file.CanCompact() && err != nil || got != n {
		t.Errorf("Erase(%q): %d removed, %v, want %d", key, got, err, n)
	}
	if c := s.Counts(); c.Dropped != before+uint64(got) {
		t.Errorf("%d removed, %d dropped", got, c.Dropped-before)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestErase(t *testing.T) {
	plainAndSealed(t, func(t *testing.T, o *Options) {
		s := newStore(t, o)
		put(t, s, event("dead", "ann"), event("dead", "bob"))
		items := claims(t, s, 9)
		settle(t, s, failed(items[0], sender.Dead, time.Time{}), failed(items[1], sender.Dead, time.Time{}))
		put(t, s, event("later", "ann"), event("later", "bob"), event("in flight", "cid"), event("free", ""))
		items = claims(t, s, 9)
		settle(t, s, failed(items[0], sender.Retry, time.Now().Add(time.Hour)), failed(items[1], sender.Retry, time.Now()))
		timed := []sender.Item{event("timed", "ann"), event("timed", "bob")}
		for i := range timed {
			timed[i].Due = time.Now().Add(time.Hour)
		}
		put(t, s, timed...)
		put(t, s, event("in line", "ann"), event("in line", "bob"), event("in line", "ann"), event("in line", "cid"))
		wantNames(t, "claimed", kinds(claims(t, s, 9)), "later") // bob's, and the walk meets all others

		erase(t, s, "ann", 5)
		erase(t, s, "ann", 0)
		erase(t, s, "an", 0)
		for it, err := range s.Pending() {
			if it.Key == "ann" || err != nil {
				t.Errorf("left: %+v, %v", it, err)
			}
		}
		wantNames(t, "dead", kinds(list(t, s.Dead())), "dead")
		// Its key is free again.
		put(t, s, event("new", "ann"))
		wantNames(t, "claimed", kinds(claims(t, s, 9)), "new")
		// Those in flight are gone, and what became of them finds nothing.
		erase(t, s, "cid", 2)
		settle(t, s, failed(items[2], sender.Retry, time.Now()), sender.Outcome{Item: items[3], Verdict: sender.Delivered})
		if c := s.Counts(); c.Delivered != 1 || c.Retrying != 0 || c.InFlight != 2 {
			t.Errorf("counts %+v", c)
		}
		put(t, s, event("again", "cid"))
		wantNames(t, "claimed", kinds(claims(t, s, 9)), "again")
	})
}

func TestEraseRefuses(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	if n, err := s.Erase(t.Context(), ""); err == nil || n != 0 {
		t.Errorf("the empty key: %d, %v", n, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller is gone")
	cancel(gone)
	_, err := s.Erase(ctx, "secret-key")
	wantError(t, err, gone)
	if err == nil || !strings.Contains(err.Error(), "0 removed") || !strings.Contains(err.Error(), "repeated") || strings.Contains(err.Error(), "secret-key") {
		t.Errorf("error %v", err)
	}
	wantNames(t, "left", drain(t, s), "a")
	checkedClose(t, s)
	_, err = s.Erase(t.Context(), "a")
	wantError(t, err, sender.ErrClosed)
}

// One that is sent at most once lies among the dead meanwhile; erased, it is gone from there, whatever
// the answer.
func TestEraseWhileSending(t *testing.T) {
	for _, verdict := range []sender.Verdict{sender.Released, sender.Delivered, sender.Dead, sender.Retry} {
		plainAndSealed(t, func(t *testing.T, o *Options) {
			s := newStore(t, o)
			put(t, s, event("a1", "a"), event("a2", "a"), event("b1", "b"))
			a1 := claims(t, s, 1)[0]
			settle(t, s, announced(a1)...)
			erase(t, s, "a", 2)
			settle(t, s, failed(a1, verdict, time.Now()))
			wantNames(t, "left", drain(t, s), "b1")
			if c := s.Counts(); c.Dead != 0 || c.Pending != 0 || c.InFlight != 0 || c.InLine != 0 || c.Delivered != 1 {
				t.Errorf("%v: counts %+v", verdict, c)
			}
		})
	}
}

func TestEraseDamaged(t *testing.T) {
	plainAndSealed(t, func(t *testing.T, o *Options) {
		s := newStore(t, o)
		put(t, s, event("dead", "ann@example.com"), event("dead", "bob@example.com"))
		items := list(t, s.Pending())
		flip := func(seqs ...uint64) {
			if err := tamper(s, func(tx *bolt.Tx) error {
				b := tx.Bucket(s.bucket).Bucket(format.BucketReady)
				for _, seq := range seqs {
					v := bytes.Clone(b.Get(format.ReadyKey(seq)))
					v[len(v)-1] ^= 1
					if err := b.Put(format.ReadyKey(seq), v); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		flip(items[0].Seq, items[1].Seq)
		wantNames(t, "claimed", kinds(claims(t, s, 9)))
		put(t, s, event("unmet", "ann@example.com"), event("unmet", "bob@example.com"))
		items = append(items, list(t, s.Pending())...)
		flip(items[2].Seq, items[3].Seq)
		before := s.Counts()
		n, err := s.Erase(t.Context(), "ann@example.com")
		if c := s.Counts(); err != nil || n != 2 || before.Dead != 2 || c.Dead != 1 || c.Ready != 1 || c.Dropped != 2 {
			t.Errorf("%d removed, %v; counts %+v, were %+v", n, err, c, before)
		}
		drain(t, s) // the other becomes dead
		for _, it := range list(t, s.Dead()) {
			if id := items[1].ID; it.ID != id && it.ID != items[3].ID {
				t.Errorf("left: %+v", it)
			}
		}
		if c := s.Counts(); c.Dead != 2 || c.Pending != 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// After Erase the file shows nothing of what it erased, nor of what was delivered before.
func TestErasedIsNotInTheFile(t *testing.T) {
	s := newStore(t, nil)
	if !s.file.CanCompact() {
		t.Skip("the file is not compacted here")
	}
	leave(t, s)
	put(t, s, event("FREE", "other"))
	shown := func() (found []string) {
		raw, err := os.ReadFile(s.Path())
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range append(traces, "FREE") {
			if bytes.Contains(raw, []byte(trace)) {
				found = append(found, trace)
			}
		}
		return found
	}
	if before := shown(); len(before) != len(traces)+1 {
		t.Errorf("before: %q", before)
	}
	total := 0
	for i := range 8 {
		n, err := s.Erase(t.Context(), fmt.Sprint("KEYNAME", i))
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if total != 7 { // one was delivered
		t.Errorf("%d erased", total)
	}
	wantNames(t, "shown afterwards", shown(), "FREE")
	wantNames(t, "left", drain(t, s), "FREE")
}

func TestEraseInTheApplicationsDatabase(t *testing.T) {
	db, s := newIn(t, nil)
	if err := placeOrder(db, "1", func(tx *bolt.Tx) error { return s.AppendTx(tx, event("a", "ann"), event("b", "bob")) }); err != nil {
		t.Fatal(err)
	}
	erase(t, s, "ann", 1)
	wantNames(t, "orders", orders(t, db), "1")
	wantNames(t, "left", drain(t, s), "b")
}

// A key with many items takes many commits. When one fails the rest is removed by the next call.
func TestEraseFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	const n = 3 * boltfile.MaxGroup
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = event(fmt.Sprint(i), []string{"ann", "bob"}[i%2])
	}
	put(t, s, items...)
	commits := 0
	broken := errors.New("the disk broke")
	s.Fault(func(committed bool) error {
		if committed {
			return nil
		}
		if commits++; commits == 2 {
			return broken
		}
		return nil
	})
	removed, err := s.Erase(t.Context(), "ann")
	wantError(t, err, broken)
	if removed == 0 || removed >= n/2 || s.Counts().Dropped != uint64(removed) {
		t.Errorf("%d removed, counts %+v", removed, s.Counts())
	}
	erase(t, s, "ann", n/2-removed)
	if got := drain(t, s); len(got) != n/2 {
		t.Errorf("%d left, want %d", len(got), n/2)
	}
}
