package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// sealFails is a Sealer that opens what was sealed before, and seals nothing.
type sealFails struct {
	Sealer
	err error
}

func (s sealFails) Seal([]byte, string, []byte, []byte) ([]byte, error) { return nil, s.err }

// A Sealer that fails while Open seals the secret of the lane fails Open, and the lane stays as it was.
func TestOpenWithASealerThatFails(t *testing.T) {
	away := errors.New("the key service is away")
	for _, tt := range []struct {
		name         string
		before, want *Options
		fails        Sealer
	}{
		{"a new lane", nil, sealed(t, "k1"), newSealer(t, "k1")},
		{"a plain lane", &prompt, &prompt, newSealer(t, "k1")},
		{"another key", sealed(t, "k1"), sealed(t, "k1"), newSealer(t, "k2", "k1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			var want []string
			if tt.before != nil {
				s := openStore(t, path, tt.before)
				put(t, s, event("a", ""))
				want = []string{"a"}
				checkedClose(t, s)
			}
			s, err := Open(path, &Options{Sealer: sealFails{tt.fails, away}, LockTimeout: -1})
			if err == nil {
				s.Close()
			}
			wantError(t, err, away)
			wantSealed(t, err, path)
			s = openStore(t, path, tt.want)
			put(t, s, event("b", ""))
			wantNames(t, "delivered", drain(t, s), append(want, "b")...)
		})
	}
}

// sealedClaim wants Claim to say that an item cannot be opened, and which one.
func sealedClaim(t *testing.T, s *Store, it sender.Item, words ...string) {
	t.Helper()
	for range 2 { // asking again changes nothing
		items, _, err := s.Claim(t.Context(), time.Now(), 10, 0)
		wantSealed(t, err, append(words, it.ID.String())...)
		if len(items) > 0 {
			t.Errorf("claimed %q, which cannot be opened", kinds(items))
		}
	}
}

// Claim says which item cannot be opened, also when that item is retried or has waited for its turn.
// With the key the item is delivered.
func TestClaimOfASealedItem(t *testing.T) {
	t.Run("a retry under a key that is gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newStore(t, sealed(t, "k1"))
			it := event("a", "a")
			put(t, s, it)
			settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now().Add(time.Hour)))
			checkedClose(t, s)
			checkedClose(t, openStore(t, s.Path(), sealed(t, "k2", "k1")))

			s = openStore(t, s.Path(), sealed(t, "k2"))
			time.Sleep(time.Hour)
			sealedClaim(t, s, it, `"k1"`)
			if err := s.Close(); err != nil { // Check cannot open it either
				t.Fatal(err)
			}
			wantNames(t, "with the key", drain(t, openStore(t, s.Path(), sealed(t, "k2", "k1"))), "a")
		})
	})
	t.Run("the next of its key", func(t *testing.T) {
		m := &moody{Sealer: newSealer(t, "k1")}
		s := newStore(t, &Options{Gather: -1, Sealer: m})
		next := event("next", "a")
		put(t, s, event("first", "a"), next)
		items := claims(t, s, 10)
		wantNames(t, "claimed", kinds(items), "first")
		settle(t, s, delivered(items...)...)
		m.err = errors.New("the key service is away")
		sealedClaim(t, s, next, m.err.Error())
		m.err = nil
		wantNames(t, "with the key", drain(t, s), "next")
	})
}

// An item that is given up while another record lies in its place among the dead is not lost: the commit
// fails, and the item stays pending.
func TestDeadWhereAnotherLies(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("old", ""), event("new", ""))
	items := claims(t, s, 2)
	settle(t, s, failed(items[0], sender.Dead, time.Time{}))
	if err := tamper(s, func(tx *bolt.Tx) error { // a copy of new takes the place of old
		lane := tx.Bucket(s.bucket)
		k := format.ReadyKey(items[1].Seq)
		v := bytes.Clone(lane.Bucket(format.BucketReady).Get(k))
		return errors.Join(lane.Bucket(format.BucketDead).Delete(format.ReadyKey(items[0].Seq)), lane.Bucket(format.BucketDead).Put(k, v))
	}); err != nil {
		t.Fatal(err)
	}
	err := s.Settle(t.Context(), failed(items[1], sender.Dead, time.Time{}))
	wantError(t, err, ErrCorrupt)
	wantNames(t, "pending", kinds(list(t, s.Pending())), "new")
	if c := s.Counts(); c.Dead != 1 || c.Pending != 1 || c.InFlight != 1 {
		t.Errorf("counts %+v", c)
	}
	settle(t, s, delivered(items[1])...) // it can still be settled otherwise
	if c := s.Counts(); c.Delivered != 1 || c.Pending != 0 {
		t.Errorf("after it was delivered: counts %+v", c)
	}
}
