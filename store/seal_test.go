package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// newSealer knows the keys of these ids, and seals under the first.
func newSealer(t testing.TB, ids ...string) Sealer {
	t.Helper()
	keys := make(map[string][]byte)
	for _, id := range ids {
		key := sha256.Sum256([]byte("key " + id))
		keys[id] = key[:]
	}
	s, err := AESGCM(ids[0], keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sealed are prompt's options with a Sealer that knows these keys.
func sealed(t testing.TB, ids ...string) *Options {
	o := prompt
	o.Sealer = newSealer(t, ids...)
	return &o
}

func TestQueueSealed(t *testing.T) {
	if testing.Short() {
		t.Skip("TestQueue runs the suite: not with -short")
	}
	t.Parallel()
	sendertest.Test(t, func(t *testing.T) sendertest.Queue {
		return newSubject(t, filepath.Join(t.TempDir(), "outbox"), sealed(t, "k1"))
	})
}

func TestSealedLaneKeepsEveryField(t *testing.T) {
	s := newStore(t, sealed(t, "k1"))
	it := event("welcome", "ann@example.com")
	it.Header = map[string]string{"content-type": "application/json", "": "nameless"}
	it.Expires = time.Now().Add(time.Hour)
	put(t, s, it)
	want := it
	for n := range 3 {
		got := claims(t, s, 1)[0]
		want.Seq, want.Due = got.Seq, got.Due
		if !same(got, want) {
			t.Fatalf("after %d failures: %+v\nwant %+v", n, got, want)
		}
		o := failed(got, sender.Retry, time.Now())
		settle(t, s, o)
		want = o.Item
		want.History = append(want.History, sender.Failure{At: want.FailedAt, Reason: want.LastErr})
	}
	found, err := s.Find(t.Context(), it.ID)
	if want.Due, want.Seq = found.Due, found.Seq; err != nil || !same(found, want) {
		t.Errorf("found %+v, %v\nwant %+v", found, err, want)
	}
}

// traces are what the items of leave hold, each one a word of its own.
var traces = []string{"PAYLOAD", "KIND", "KEYNAME", "HEADNAME", "HEADVALUE", "REASON", "PAUSED"}

// leave puts items that hold the traces into every bucket of a lane, through every way they are rewritten.
func leave(t *testing.T, s *Store) {
	t.Helper()
	var items []sender.Item
	for i := range 8 {
		it := event("KIND", fmt.Sprint("KEYNAME", i))
		it.Header = map[string]string{"HEADNAME": "HEADVALUE"}
		it.Payload = []byte("PAYLOAD")
		if i == 7 {
			it.Due = time.Now().Add(time.Hour)
		}
		items = append(items, it)
	}
	put(t, s, items...)
	got := claims(t, s, 8)
	if len(got) != 7 {
		t.Fatalf("%d claimed", len(got))
	}
	fail := func(i int, v sender.Verdict) sender.Outcome {
		o := failed(got[i], v, time.Now().Add(time.Hour))
		o.Item.LastErr = "REASON: PAUSED"
		return o
	}
	settle(t, s, fail(0, sender.Retry), fail(1, sender.Dead), fail(2, sender.Sending), fail(3, sender.Sending), fail(4, sender.Dead))
	settle(t, s, sender.Outcome{Item: got[3], Verdict: sender.Released})
	settle(t, s, delivered(got[5])...)
	for _, dead := range list(t, s.Dead()) {
		if dead.Seq == got[4].Seq {
			if _, err := s.Revive(t.Context(), dead); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tamper(s, func(tx *bolt.Tx) error { // a bit that fails, in a record that was claimed
		b, k := tx.Bucket(s.bucket).Bucket(format.BucketReady), format.ReadyKey(got[6].Seq)
		v := bytes.Clone(b.Get(k))
		v[len(v)-1] ^= 1
		return b.Put(k, v)
	}); err != nil {
		t.Fatal(err)
	}
	settle(t, s, fail(6, sender.Dead))
}

func TestSealedFileShowsNothing(t *testing.T) {
	for _, o := range []*Options{&prompt, sealed(t, "k1")} {
		s := newStore(t, o)
		leave(t, s)
		if c := s.Counts(); c.Retrying != 1 || c.Dead != 2 || c.Scheduled != 1 || c.InFlight != 1 || c.Delivered != 1 {
			t.Errorf("counts %+v", c)
		}
		raw, err := os.ReadFile(s.Path())
		if err != nil {
			t.Fatal(err)
		}
		for _, trace := range traces {
			if shows := bytes.Contains(raw, []byte(trace)); shows != (o.Sealer == nil) {
				t.Errorf("sealed %t: the file shows %s: %t", o.Sealer != nil, trace, shows)
			}
		}
		var fnv [format.HashLen]byte
		binary.BigEndian.PutUint64(fnv[:], format.HashKey("KEYNAME0"))
		if shows := bytes.Contains(raw, fnv[:]); shows != (o.Sealer == nil) {
			t.Errorf("sealed %t: the file shows a hash that anyone can compute: %t", o.Sealer != nil, shows)
		}
	}
}

func TestSealedDeadAreKeptForKeepDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := sealed(t, "k1")
		o.KeepDead = 48 * time.Hour
		s := newStore(t, o)
		die := func(name string) {
			put(t, s, event(name, ""))
			settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
		}
		die("old")
		time.Sleep(40 * time.Hour)
		die("young")
		time.Sleep(10 * time.Hour)
		put(t, s, event("c", "")) // each commit looks
		wantNames(t, "kept", kinds(list(t, s.Dead())), "young")
		if c := s.Counts(); c.Dropped != 1 {
			t.Errorf("counts %+v", c)
		}
	})
}

// wantSealed is an error that says what cannot be opened, and under which key.
func wantSealed(t *testing.T, err error, words ...string) {
	t.Helper()
	wantError(t, err, ErrSealed)
	if errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v says that it is damaged", err)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v does not say %q", err, word)
		}
	}
}

func TestSealedLaneRefusesOtherKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openStore(t, path, sealed(t, "k1"))
	other, err := s.Lane("other", sealed(t, "k2"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, event("a", "k"))
	put(t, other, event("b", "k"))
	checkedClose(t, other)
	checkedClose(t, s)
	wrongKey, err := AESGCM("k1", map[string][]byte{"k1": make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	before := content(t, path)
	for _, o := range []*Options{&prompt, sealed(t, "k2"), {Sealer: wrongKey, Gather: -1, LockTimeout: -1}} {
		s, err := Open(path, o)
		if err == nil {
			s.Close()
		}
		wantSealed(t, err, path, `"k1"`)
	}
	if got := content(t, path); got != before {
		t.Errorf("changed by those who could not open it:\n%s\nwas\n%s", got, before)
	}
	s = openStore(t, path, sealed(t, "k1"))
	for _, o := range []*Options{&prompt, sealed(t, "k1")} {
		_, err = s.Lane("other", o)
		wantSealed(t, err, path, `"other"`, `"k2"`)
	}
	if other, err = s.Lane("other", sealed(t, "k2")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, "delivered", append(drain(t, s), drain(t, other)...), "a", "b")
}

// content is what a file holds, bucket by bucket.
func content(t *testing.T, path string) string {
	t.Helper()
	db := openDB(t, path)
	defer db.Close()
	var text strings.Builder
	var walk func(b *bolt.Bucket) error
	walk = func(b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			fmt.Fprintf(&text, "%q %x\n", k, v)
			if v == nil {
				return walk(b.Bucket(k))
			}
			return nil
		})
	}
	if err := db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return walk(b) })
	}); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestSealedInTheApplicationsDatabase(t *testing.T) {
	db, s := newIn(t, sealed(t, "k1"))
	if err := placeOrder(db, "1", func(tx *bolt.Tx) error { return s.AppendTx(tx, event("a", "k"), event("b", "k")) }); err != nil {
		t.Fatal(err)
	}
	checkedClose(t, s)
	_, err := In(db, "events", &prompt)
	wantSealed(t, err, `"k1"`)
	if s, err = In(db, "events", sealed(t, "k1")); err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	wantNames(t, "delivered", drain(t, s), "a", "b")
}

// Builds that know format 1 alone must refuse a sealed lane and open every other.
func TestFormatOfSealedLanes(t *testing.T) {
	format := func(o *Options) (v uint32) {
		s := newStore(t, o)
		put(t, s, event("a", ""))
		if err := s.file.View(func(tx *bolt.Tx) error {
			v = binary.BigEndian.Uint32(tx.Bucket(s.bucket).Bucket(format.BucketMeta).Get(format.MetaFormat))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if plain, sealed := format(&prompt), format(sealed(t, "k1")); plain != 1 || sealed != 2 {
		t.Errorf("format %d when plain, %d when sealed, want 1 and 2", plain, sealed)
	}
}

// A Sealer that fails stores nothing, and what failed meanwhile is not lost.
type moody struct {
	Sealer
	err error
}

func (m *moody) Seal(dst []byte, id string, plain, additional []byte) ([]byte, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.Sealer.Seal(dst, id, plain, additional)
}

func (m *moody) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	if m.err != nil {
		return nil, m.err
	}
	return m.Sealer.Open(dst, id, sealed, additional)
}

func TestSealerFails(t *testing.T) {
	m := &moody{Sealer: newSealer(t, "k1")}
	s := newStore(t, &Options{Gather: -1, Sealer: m})
	put(t, s, event("a", "a"), event("b", "b"), event("c", "c"))
	items := claims(t, s, 2)
	settle(t, s, failed(items[1], sender.Dead, time.Time{}))
	m.err = errors.New("the key service is away")
	for what, err := range map[string]error{
		"Append": s.Append(t.Context(), event("d", "")),
		"Settle": s.Settle(t.Context(), failed(items[0], sender.Retry, time.Now())),
		"Claim":  func() error { _, _, err := s.Claim(t.Context(), time.Now(), 1, 0); return err }(),
		"Revive": second(s.Revive(t.Context(), items[1])),
	} {
		if !errors.Is(err, m.err) {
			t.Errorf("%s: %v", what, err)
		}
		wantSealed(t, err)
	}
	settle(t, s, sender.Outcome{Item: items[0], Verdict: sender.Released})
	m.err = nil
	if c := s.Counts(); c.Put != 3 || c.Dead != 1 || c.Pending != 2 {
		t.Errorf("counts %+v", c)
	}
	got := drain(t, s)
	slices.Sort(got)
	wantNames(t, "afterwards", got, "a", "c")
}

func TestSealerIsChecked(t *testing.T) {
	for _, id := range []string{"", strings.Repeat("x", 256)} {
		_, err := Open(filepath.Join(t.TempDir(), "outbox.db"), &Options{Sealer: named(id)})
		if want := fmt.Sprintf("%d bytes, 1 to 255", len(id)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// named is a Sealer that does nothing.
type named string

func (n named) Current() string { return string(n) }

func (named) Seal(dst []byte, _ string, plain, _ []byte) ([]byte, error) {
	return append(dst, plain...), nil
}

func (named) Open(dst []byte, _ string, sealed, _ []byte) ([]byte, error) {
	return append(dst, sealed...), nil
}

func TestSealedCountsItsSealedPart(t *testing.T) {
	o := sealed(t, "k1")
	o.MaxBytes = 1000
	s := newStore(t, o)
	it := event("a", "k")
	it.Payload = make([]byte, 900)
	put(t, s, it)
	c := s.Counts()
	if c.Bytes <= 900 || c.Bytes > 1000 {
		t.Errorf("%d bytes for a payload of 900", c.Bytes)
	}
	err := s.Append(t.Context(), event("b", ""))
	wantError(t, err, sender.ErrFull)
	// An item that fails grows by its reason, also at the limit.
	settle(t, s, failed(claims(t, s, 1)[0], sender.Dead, time.Time{}))
	if d := s.Counts().DeadBytes; d <= c.Bytes {
		t.Errorf("%d bytes dead, %d before it failed", d, c.Bytes)
	}
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// What is scheduled when a lane is sealed lies there as it is until its time comes, damaged or not.
func TestScheduledBeforeSealing(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "outbox.db")
				s := openStore(t, path, nil)
				bad, good := event("bad", "k"), event("good", "k")
				bad.Due = time.Now().Add(time.Hour)
				good.Due = bad.Due.Add(time.Minute)
				put(t, s, bad, good, event("next", "k"))
				spoil(t, s, format.BucketTimed, "bad", damage)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openStore(t, path, sealed(t, "k1"))
				time.Sleep(2 * time.Hour)
				wantNames(t, "delivered, before and after the burial", append(drain(t, s), drain(t, s)...), "next", "good")
				dead := list(t, s.Dead())
				if c := s.Counts(); len(dead) != 1 || !strings.Contains(dead[0].LastErr, "damaged") || c.Bytes != 0 || c.Pending != 0 {
					t.Errorf("dead: %+v, counts %+v", dead, c)
				}
			})
		})
	}
}
