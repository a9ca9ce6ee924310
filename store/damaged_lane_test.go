package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/salvage"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// openDamaged opens a lane that Check is to complain about.
func openDamaged(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// untilStuck delivers what a lane hands out until it stops with ErrCorrupt, and wants it to stay so.
func untilStuck(t *testing.T, s *Store) (items []sender.Item) {
	t.Helper()
	for {
		got, next, err := s.Claim(t.Context(), time.Now(), 100, 0)
		if err != nil {
			wantError(t, err, ErrCorrupt)
			break
		}
		if len(got) == 0 && (next.IsZero() || next.After(time.Now())) {
			t.Fatalf("it says that nothing is left, after %d: %+v", len(items), s.Counts())
		}
		if items = append(items, got...); len(items) > 5000 {
			t.Fatal("it does not end")
		}
		settle(t, s, delivered(got...)...)
	}
	wantError(t, s.Counts().Err, ErrCorrupt)
	for range 3 {
		got, _, err := s.Claim(t.Context(), time.Now(), 100, 0)
		if wantError(t, err, ErrCorrupt); len(got) > 0 {
			t.Errorf("%d items after damage that cannot be passed", len(got))
		}
	}
	return items
}

// A bucket key that no record has stops its bucket, once the others have nothing more, and nothing
// before it is skipped.
func TestClaimStopsAtStrangeKey(t *testing.T) {
	for _, bucket := range [][]byte{format.BucketReady, format.BucketLater, format.BucketTimed} {
		for name, key := range map[string][]byte{"short": {0, 0, 0, 0, 0, 0, 1}, "long": bytes.Repeat([]byte{1}, 40), "unknown Seq": nil} {
			t.Run(string(bucket)+"/"+name, func(t *testing.T) {
				s := newDamaged(t)
				timed := event("timed", "")
				timed.Due = time.Now().Add(time.Hour)
				put(t, s, event("later", ""), event("1", ""), event("2", ""), timed)
				settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now().Add(time.Hour)))
				if key == nil {
					key = map[string][]byte{"ready": format.ReadyKey(99), "later": format.LaterKey(1, 99, 0), "timed": format.TimedKey(1, 99)}[string(bucket)]
				}
				if err := tamper(s, func(tx *bolt.Tx) error {
					return tx.Bucket(s.bucket).Bucket(bucket).Put(key, []byte("anything"))
				}); err != nil {
					t.Fatal(err)
				}
				got := kinds(untilStuck(t, s))
				wantNames(t, "delivered", got, "1", "2")
				if c := s.Counts(); c.Put != 4 || c.Pending != 4-len(got) {
					t.Errorf("counts %+v", c)
				}
			})
		}
	}
}

func newDamaged(t *testing.T) *Store {
	t.Helper()
	return openDamaged(t, filepath.Join(t.TempDir(), "outbox"))
}

// What a page that was not read on opening hides, or shows in the wrong order, is told when the claim
// comes to it, or to the end.
func TestClaimStopsAtDamagedLeaf(t *testing.T) {
	partly(t)
	for name, damage := range map[string]func(page []byte){
		"entries hidden": func(p []byte) { pages.Native.PutUint16(p[10:], pages.ParseHeader(p).Count/2) },
		"key length":     func(p []byte) { pages.Native.PutUint32(p[pages.HeaderLen+2*pages.ElementLen+8:], 7) },
		"order": func(p []byte) {
			a, b := elementOf(p, 2), elementOf(p, 3)
			x := bytes.Clone(p[a.Key:a.Value])
			copy(p[a.Key:a.Value], p[b.Key:b.Value])
			copy(p[b.Key:b.Value], x)
		},
		"a key too high": func(p []byte) { e := elementOf(p, 2); p[e.Key] = 1 },
		"a bucket":       func(p []byte) { pages.Native.PutUint32(p[pages.HeaderLen+2*pages.ElementLen:], pages.FlagBucket) },
	} {
		t.Run(name, func(t *testing.T) {
			m := specimenImage(t, true)
			damage(m.Page(lastLeaf(t, m)))
			s := openDamaged(t, m.Write(t))
			seen := make(map[uint64]bool)
			for _, it := range untilStuck(t, s) {
				if seen[it.Seq] {
					t.Fatalf("item %d was handed out twice", it.Seq)
				}
				seen[it.Seq] = true
			}
			if len(seen) < 500 {
				t.Errorf("%d items before the damage", len(seen))
			}
			checkpoint := make(chan error, 1)
			go func() { checkpoint <- s.Check(context.Background()) }()
			wantError(t, <-checkpoint, ErrCorrupt)
		})
	}
}

// lastLeaf returns the leaf before the last of those with records of ready.
func lastLeaf(t *testing.T, m image) (id uint64) {
	t.Helper()
	best, most := uint64(0), uint64(0)
	second := uint64(0)
	for id := m.Find(t, pages.KindLeaf, 5); id < m.Meta().Pages; id++ {
		h := pages.ParseHeader(m.Page(id))
		if h.ID != id || h.Kind != pages.KindLeaf || h.Count < 5 {
			continue
		}
		e := elementOf(m.Page(id), 0)
		if e.Value-e.Key != 8 {
			continue
		}
		if seq := binary.BigEndian.Uint64(m.Page(id)[e.Key:]); seq > most {
			second, best, most = best, id, seq
		}
	}
	if second == 0 {
		t.Fatal("no such leaf")
	}
	return second
}

// Check survives pages on which bbolt's own check dies: those of another lane, and those of the
// application.
func TestCheckSurvivesDamagedPages(t *testing.T) {
	spoil := func(t *testing.T, path, text string) {
		t.Helper()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		n := 0
		for at := 0; ; n++ {
			i := bytes.Index(raw[at:], []byte(text))
			if i < 0 {
				break
			}
			at += i + 1
			page := at / 4096 * 4096
			if _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0x7f}, int64(page+pages.HeaderLen+pages.ElementLen+8)); err != nil { // the length of its second key
				t.Fatal(err)
			}
		}
		if n == 0 {
			t.Fatal("there is no such text")
		}
	}
	many := func(name string) []sender.Item {
		items := events(100)
		for i := range items {
			items[i].Kind = name
		}
		return items
	}
	t.Run("another lane", func(t *testing.T) {
		s := newDamaged(t)
		eu, err := s.Lane("eu", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, many("mine")...)
		put(t, eu, many("of eu alone")...)
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		spoil(t, s.Path(), "of eu alone")
		wantError(t, s.Check(t.Context()), ErrCorrupt)
	})
	t.Run("the application", func(t *testing.T) {
		db := openDB(t, filepath.Join(t.TempDir(), "app.db"))
		s, err := In(db, "outbox", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		put(t, s, many("mine")...)
		if err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte("app"))
			for i := range 100 {
				err = b.Put(format.ReadyKey(uint64(i)), bytes.Repeat([]byte("of the application"), 10))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		spoil(t, db.Path(), "of the application")
		wantError(t, s.Check(t.Context()), ErrCorrupt)
	})
}

// A lane in which something is hidden, or where new items would take the places of others, does not open.
func TestReloadRefuses(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(root *bolt.Bucket) error{
		"sequence below Put":     func(root *bolt.Bucket) error { return root.SetSequence(2) },
		"an unknown bucket":      func(root *bolt.Bucket) error { _, err := root.CreateBucket([]byte("reedy")); return err },
		"an entry of no bucket":  func(root *bolt.Bucket) error { return root.Put([]byte("x"), []byte("y")) },
		"a bucket is missing":    func(root *bolt.Bucket) error { return root.DeleteBucket(format.BucketTimed) },
		"a strange key in ready": func(root *bolt.Bucket) error { return root.Bucket(format.BucketReady).Put([]byte("zzz"), []byte("y")) },
		"a Seq to come in dead": func(root *bolt.Bucket) error {
			return root.Bucket(format.BucketDead).Put(format.ReadyKey(9), []byte("y"))
		},
		"another name": func(root *bolt.Bucket) error {
			return root.Bucket(format.BucketMeta).Put(format.MetaName, format.WithSum([]byte("eu")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDamaged(t)
			put(t, s, event("a", ""), event("b", ""), event("c", ""))
			if err := tamper(s, func(tx *bolt.Tx) error { return damage(tx.Bucket(s.bucket)) }); err != nil {
				t.Fatal(err)
			}
			path := s.Path()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, &prompt)
			wantError(t, err, ErrCorrupt)
			res, err := salvage.File(path, "")
			if err != nil || res.Saved+res.Suspicious != 3 {
				t.Fatalf("%+v, %v", res, err)
			}
			if name == "another name" {
				return
			}
			if s = openStore(t, path, nil); len(drain(t, s)) != 3 {
				t.Errorf("%+v", s.Counts())
			}
		})
	}
}

// A lane whose name is damaged is missed, not made again, and salvaged under its own name.
func TestRenamedLane(t *testing.T) {
	s := newDamaged(t)
	eu, err := s.Lane("eu", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	put(t, eu, events(3)...)
	path := s.Path()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := image(m).Page(image(m).Meta().Root)
	e := elementOf(p, 0)
	if string(p[e.Key:e.Value]) != "eu" {
		t.Fatalf("%q is the first lane", p[e.Key:e.Value])
	}
	p[e.Key] = 'm'
	if err := os.WriteFile(path, m, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openDamaged(t, path)
	for _, name := range []string{"eu", "mu"} {
		_, err := s.Lane(name, &prompt)
		wantError(t, err, ErrCorrupt)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if res, err := salvage.File(path, ""); err != nil || res.Saved != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	s = openStore(t, path, nil)
	if eu, err = s.Lane("eu", &prompt); err != nil {
		t.Fatal(err)
	}
	wantNames(t, "delivered", drain(t, eu), "0", "1", "2")
}

// setLedger changes the ledger of a lane behind its back.
func setLedger(t *testing.T, s *Store, change func(*format.Ledger)) {
	t.Helper()
	if err := tamper(s, func(tx *bolt.Tx) error {
		meta := tx.Bucket(s.bucket).Bucket(format.BucketMeta)
		var l format.Ledger
		if err := l.Decode(meta.Get(format.MetaLedger)); err != nil {
			return err
		}
		change(&l)
		return meta.Put(format.MetaLedger, l.Encode())
	}); err != nil {
		t.Fatal(err)
	}
}

// No count goes below zero: what would do so is not stored. Bytes are merely counted again.
func TestLedgerBelowZero(t *testing.T) {
	s := newDamaged(t)
	put(t, s, event("a", ""))
	items := claims(t, s, 1)
	setLedger(t, s, func(l *format.Ledger) { l.Ready, l.Delivered = 0, 1 })
	wantError(t, s.Settle(t.Context(), delivered(items...)...), ErrCorrupt)
	wantNames(t, "still there", kinds(list(t, s.Pending())), "a")

	s = newStore(t, nil)
	put(t, s, event("a", ""), event("bc", ""))
	setLedger(t, s, func(l *format.Ledger) { l.Bytes = 3 })
	settle(t, s, delivered(claims(t, s, 1)...)...)
	if n := s.Counts().Bytes; n != int64(len("payload of bc")) {
		t.Errorf("%d bytes, want those of the one that is left", n)
	}
}

// What is kept of one damaged record is bounded, and the reason says so.
func TestDamagedRecordIsCut(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 20 MB many times over: not with -short")
	}
	t.Parallel()
	s := newStore(t, &Options{Gather: -1, MaxPayload: 32 << 20})
	bad := event("bad", "")
	bad.Payload = make([]byte, 20<<20)
	put(t, s, bad)
	spoil(t, s, format.BucketReady, "bad", func(v []byte) []byte { v[len(v)-9] ^= 1; return v })
	drain(t, s)
	dead := list(t, s.Dead())
	if len(dead) != 1 || len(dead[0].Payload) != 16<<20 || !bytes.Contains([]byte(dead[0].LastErr), []byte("the first 16777216 are kept")) {
		t.Fatalf("%d dead", len(dead))
	}
}
