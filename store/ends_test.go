package store

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// A sequence at its end would wrap, and the next item would take the place of the oldest one.
func TestSequenceAtItsEnd(t *testing.T) {
	db, s := newIn(t, nil)
	timed := event("timed", "")
	timed.Due = time.Now().Add(time.Minute)
	put(t, s, event("dead", ""), event("ready", ""), timed)
	settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
	if err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("events")).SetSequence(math.MaxUint64 - 2) }); err != nil {
		t.Fatal(err)
	}
	put(t, s, event("last", ""))
	wantError(t, s.Append(t.Context(), event("beyond", "")), ErrCorrupt)
	wantError(t, second(s.Revive(t.Context(), list(t, s.Dead())...)), ErrCorrupt)
	wantError(t, db.Update(func(tx *bolt.Tx) error { return s.AppendTx(tx, event("beyond", "")) }), ErrCorrupt)
	wantNames(t, "claimed", kinds(claims(t, s, 5)), "ready", "last")
	_, _, err := s.Claim(t.Context(), time.Now().Add(time.Hour), 1, 0)
	wantError(t, err, ErrCorrupt)
	if c := s.Counts(); c.Pending != 3 || c.Dead != 1 || c.Put != 4 {
		t.Errorf("counts %+v", c)
	}
}

// panicking is a Sealer that panics in one method.
type panicking struct {
	Sealer
	in string
}

func (p *panicking) Current() string {
	p.reach("Current")
	return p.Sealer.Current()
}

func (p *panicking) Seal(dst []byte, id string, plain, additional []byte) ([]byte, error) {
	p.reach("Seal")
	return p.Sealer.Seal(dst, id, plain, additional)
}

func (p *panicking) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	p.reach("Open")
	return p.Sealer.Open(dst, id, sealed, additional)
}

func (p *panicking) reach(method string) {
	if p.in == method {
		panic("secret payload")
	}
}

// A panic in a Sealer is an error of the call, and the lane works on when it is over.
func TestSealerThatPanics(t *testing.T) {
	p := &panicking{Sealer: newSealer(t, "k1")}
	s := newStore(t, &Options{Gather: -1, LockTimeout: -1, Sealer: p})
	put(t, s, event("a", "k"), event("b", ""))
	dead := claims(t, s, 1)[0]
	settle(t, s, failed(dead, sender.Dead, time.Time{}))
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrSealed) || strings.Contains(err.Error(), "secret payload") {
			t.Errorf("%s while %s panics: %v, want ErrSealed without the value", what, p.in, err)
		}
		if err := s.Counts().Err; err != nil {
			t.Errorf("after %s the lane has failed: %v", what, err)
		}
	}
	for _, p.in = range []string{"Current", "Seal"} {
		want("Append", s.Append(t.Context(), event("c", "")))
		want("Revive", second(s.Revive(t.Context(), dead)))
	}
	p.in = "Open"
	_, _, err := s.Claim(t.Context(), time.Now(), 1, 0)
	want("Claim", err)
	want("Find", second(s.Find(t.Context(), dead.ID)))
	want("Revive", second(s.Revive(t.Context(), dead)))
	want("Erase", second(s.Erase(t.Context(), "k")))
	_, err = Open(s.Path()+".other", &Options{Sealer: &panicking{newSealer(t, "k1"), "Seal"}})
	if !errors.Is(err, ErrSealed) {
		t.Errorf("Open: %v", err)
	}
	p.in = ""
	if n, err := s.Revive(t.Context(), dead); n != 1 || err != nil {
		t.Errorf("Revive afterwards: %d, %v", n, err)
	}
	wantNames(t, "delivered", drain(t, s), "b", "a")
}
