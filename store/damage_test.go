package store

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// spoil changes the record of the item called name in a bucket, as a failing disk would.
func spoil(t *testing.T, s *Store, bucket []byte, name string, damage func(v []byte) []byte) {
	t.Helper()
	if err := tamper(s, func(tx *bolt.Tx) error {
		b := tx.Bucket(s.bucket).Bucket(bucket)
		c := b.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if it, err := s.codec.decode(k, v); err == nil && it.Kind == name {
				return b.Put(bytes.Clone(k), damage(bytes.Clone(v)))
			}
		}
		return errors.New("no such record")
	}); err != nil {
		t.Fatal(err)
	}
}

var damages = map[string]func(v []byte) []byte{
	"a bit of the payload": func(v []byte) []byte { v[len(v)-6] ^= 1; return v },
	"the payload's length": func(v []byte) []byte { v[format.OffPayLen+3]++; return v },
	"the key":              func(v []byte) []byte { v[format.OffBody+len("bad")] ^= 0x20; return v },
	"the version":          func(v []byte) []byte { v[0] = 9; return v },
	"zeros":                func(v []byte) []byte { clear(v); return v },
	"cut short":            func(v []byte) []byte { return v[:20] },
	"one byte":             func(v []byte) []byte { return []byte{1} },
	"empty":                func(v []byte) []byte { return []byte{} },
}

// onlyDamage wants Check to complain about one record, and what its bytes do to the sums, and nothing else.
func onlyDamage(t *testing.T, s *Store, bucket string) {
	t.Helper()
	err := s.Check(t.Context())
	wantError(t, err, ErrCorrupt)
	if err == nil || !strings.Contains(err.Error(), bucket+": record") {
		t.Errorf("Check says %v, which names no record of %s", err, bucket)
		return
	}
	for i, line := range strings.Split(err.Error(), "\n") {
		if i > 0 && !strings.HasPrefix(line, bucket+": record") && !strings.Contains(line, " bytes: ") {
			t.Errorf("Check says %q", line)
		}
	}
}

func TestDamagedRecordIsQuarantined(t *testing.T) {
	plainAndSealed(t, func(t *testing.T, o *Options) {
		n := campaign.Pick(len(damages), len(damages), 3) // with -short three of them, others each time
		for name, damage := range damages {
			if n--; n < 0 {
				break
			}
			t.Run("ready/"+name, func(t *testing.T) {
				s := newStore(t, o)
				put(t, s, event("bad", "k"), event("good", ""), event("next", "k"))
				spoil(t, s, format.BucketReady, "bad", damage)
				onlyDamage(t, s, "ready")
				quarantined(t, s, "good", "next")
			})
			t.Run("its turn/"+name, func(t *testing.T) {
				s := newStore(t, o)
				put(t, s, event("first", "k"), event("bad", "k"), event("good", ""), event("next", "k"))
				first := claims(t, s, 10)[0]
				spoil(t, s, format.BucketReady, "bad", damage)
				settle(t, s, delivered(first)...)
				settle(t, s, sender.Outcome{Item: mustFind(t, s, "good"), Verdict: sender.Released})
				quarantined(t, s, "good", "next")
			})
			t.Run("later/"+name, func(t *testing.T) {
				s := newStore(t, o)
				put(t, s, event("bad", "k"), event("good", ""), event("next", "k"))
				settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now()))
				spoil(t, s, format.BucketLater, "bad", damage)
				onlyDamage(t, s, "later")
				quarantined(t, s, "good", "next")
			})
			t.Run("timed/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStore(t, o)
					bad := event("bad", "k")
					bad.Due = time.Now().Add(time.Hour)
					put(t, s, bad, event("good", ""), event("next", "k"))
					spoil(t, s, format.BucketTimed, "bad", damage)
					onlyDamage(t, s, "timed")
					time.Sleep(time.Hour)
					quarantined(t, s, "good", "next")
				})
			})
			t.Run("in flight/"+name, func(t *testing.T) {
				for _, verdict := range []sender.Verdict{sender.Retry, sender.Dead} {
					s := newStore(t, o)
					put(t, s, event("bad", "k"), event("good", ""), event("next", "k"))
					item := claims(t, s, 1)[0]
					spoil(t, s, format.BucketReady, "bad", damage)
					settle(t, s, failed(item, verdict, time.Now()))
					quarantined(t, s, "good", "next")
				}
			})
			t.Run("delivered/"+name, func(t *testing.T) {
				s := newStore(t, o)
				put(t, s, event("bad", "k"), event("good", ""), event("next", "k"))
				item := claims(t, s, 1)[0]
				spoil(t, s, format.BucketReady, "bad", damage)
				settle(t, s, delivered(item)...)
				got := drain(t, s)
				if len(got) != 2 || s.Counts().Bytes != 0 || s.Counts().Delivered != 3 {
					t.Errorf("delivered %q, %+v", got, s.Counts())
				}
			})
		}
	})
}

func mustFind(t *testing.T, s *Store, name string) sender.Item {
	t.Helper()
	for it, err := range s.Pending() {
		if err == nil && it.Kind == name {
			return it
		}
	}
	t.Fatalf("no %q", name)
	return sender.Item{}
}

// quarantined wants all but the damaged item delivered, the damaged one among the dead with its reason and
// its bytes, and everything accounted for.
func quarantined(t *testing.T, s *Store, others ...string) {
	t.Helper()
	got := drain(t, s)
	for _, name := range others {
		n := 0
		for _, g := range got {
			if g == name {
				n++
			}
		}
		if n != 1 {
			t.Errorf("delivered %q, want %q once", got, name)
		}
	}
	dead := list(t, s.Dead())
	if len(dead) != 1 || !strings.Contains(dead[0].LastErr, "damaged") || dead[0].FailedAt.IsZero() {
		t.Fatalf("dead: %+v", dead)
	}
	c := s.Counts()
	if c.Pending != 0 || c.Bytes != 0 || c.Dead != 1 || s.opts.Sealer == nil && c.DeadBytes != int64(len(dead[0].Payload)) || c.InFlight != 0 {
		t.Errorf("counts %+v, with %d bytes quarantined", c, len(dead[0].Payload))
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := s.Revive(t.Context(), dead...)
	wantError(t, err, ErrCorrupt)
	if s.Counts().Dead != 1 {
		t.Error("a damaged item was revived")
	}
	if _, err := s.Drop(t.Context(), dead...); err != nil {
		t.Error(err)
	}
	if c := s.Counts(); c.DeadBytes != 0 || c.Dead != 0 || c.Dropped != 1 {
		t.Errorf("after Drop: %+v", c)
	}
}

func TestDamagedRecordAmongTheDead(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, nil)
			put(t, s, event("bad", ""), event("good", ""))
			items := claims(t, s, 2)
			settle(t, s, failed(items[0], sender.Dead, time.Time{}), failed(items[1], sender.Dead, time.Time{}))
			spoil(t, s, format.BucketDead, "bad", damage)
			onlyDamage(t, s, "dead")
			var good, bad []sender.Item
			for it, err := range s.Dead() {
				if err == nil {
					good = append(good, it)
					continue
				}
				wantError(t, err, ErrCorrupt)
				bad = append(bad, it)
			}
			wantNames(t, "still listed", kinds(good), "good")
			if len(bad) != 1 || bad[0].Seq != items[0].Seq {
				t.Fatalf("damaged: %+v", bad)
			}
			wantError(t, second(s.Revive(t.Context(), bad...)), ErrCorrupt)
			if _, err := s.Drop(t.Context(), bad...); err != nil {
				t.Fatal(err)
			}
			if c := s.Counts(); c.Dead != 1 || c.DeadBytes != int64(len(good[0].Payload)) || c.Dropped != 1 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

func TestDamagedRecordCanBeDropped(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, nil)
			put(t, s, event("bad", "k"), event("good", "k"))
			spoil(t, s, format.BucketReady, "bad", damage)
			for it, err := range s.Pending() {
				if err != nil {
					if _, err := s.Drop(t.Context(), it); err != nil {
						t.Error(err)
					}
				}
			}
			wantNames(t, "left", drain(t, s), "good")
			if c := s.Counts(); c.Dropped != 1 || c.Bytes != 0 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}
