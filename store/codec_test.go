package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// newCodec is that of a sealed lane.
func newCodec(t testing.TB, lane string, ids ...string) *codec {
	t.Helper()
	c := new(codec)
	c.set(newSealer(t, ids...), []byte(lane), append(bytes.Repeat([]byte{7}, 32), 0, 0, 0, 0, 0, 0, 0, 5))
	return c
}

// stamped is the plain record of an item as it lies under k.
func stamped(it sender.Item, k []byte) []byte {
	v := format.Encode(&it)
	v.SetSum(v.BodySum(), k)
	return v
}

// sealedRecord is the record of an item that failed once, as it lies under k.
func sealedRecord(t testing.TB, c *codec, it sender.Item, k []byte) []byte {
	t.Helper()
	v, err := format.Record(format.Encode(&it)).Amend(1, 1, born, "refused "+it.Kind)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = c.seal(v); err != nil {
		t.Fatal(err)
	}
	format.Record(v).SetSum(format.Record(v).BodySum(), k)
	return v
}

// A seal binds what is in it to all that precedes it: nothing can be changed by who repairs the checksum.
func TestSealDetectsEveryFlippedBit(t *testing.T) {
	c := newCodec(t, "lane", "k1", "k2")
	k := format.ReadyKey(9)
	v := sealedRecord(t, c, event("ping", "key"), k)
	if it, err := c.decode(k, v); err != nil || it.Kind != "ping" || it.LastErr != "refused ping" {
		t.Fatalf("decoded %+v, %v", it, err)
	}
	for bit := range 8 * (len(v) - format.CrcLen) {
		n := bytes.Clone(v)
		n[bit/8] ^= 1 << (bit % 8)
		format.Record(n).SetSum(format.Record(n).BodySum(), k)
		if it, err := c.decode(k, n); err == nil {
			t.Errorf("bit %d of byte %d flipped, and decoded as %+v", bit%8, bit/8, it)
		}
	}
	if _, err := newCodec(t, "other", "k1").decode(k, v); err == nil {
		t.Error("valid in another lane")
	}
	if _, err := new(codec).decode(k, v); err == nil {
		t.Error("decoded by a plain lane")
	}
	sealedInPlain := stamped(event("ping", ""), k)
	sealedInPlain[1] = format.CodecSealed
	format.Record(sealedInPlain).SetSum(format.Record(sealedInPlain).BodySum(), k)
	if _, err := new(codec).decode(k, sealedInPlain); err == nil || !strings.Contains(err.Error(), "codec 1") {
		t.Errorf("a plain record that is marked as sealed: error %v, want one with %q", err, "codec 1")
	}
	// A plain record is one from before the lane was sealed, which 5 was the last of.
	for seq, ok := range map[uint64]bool{5: true, 6: false} {
		if _, err := c.decode(format.ReadyKey(seq), stamped(event("ping", "key"), format.ReadyKey(seq))); (err == nil) != ok {
			t.Errorf("plain record %d: %v", seq, err)
		}
	}
}

// Who can write to the file, but has no key, exchanges the seals of two records and repairs the checksums.
func TestExchangedSealsAreQuarantined(t *testing.T) {
	for name, exchange := range map[string]func(a, b []byte) ([]byte, []byte){
		"payloads": func(a, b []byte) ([]byte, []byte) {
			n := len(a) - format.CrcLen - format.Record(a).PayloadLen()
			return append(bytes.Clone(a[:n]), b[n:]...), append(bytes.Clone(b[:n]), a[n:]...)
		},
		"IDs": func(a, b []byte) ([]byte, []byte) {
			a, b = bytes.Clone(a), bytes.Clone(b)
			copy(a[format.OffID:], b[format.OffID:format.OffCreated])
			return a, b
		},
		"hashes": func(a, b []byte) ([]byte, []byte) {
			a, b = bytes.Clone(a), bytes.Clone(b)
			copy(a[format.OffBody:], b[format.OffBody:format.OffBody+format.HashLen])
			return a, b
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, sealed(t, "k1"))
			put(t, s, event("a", "a"), event("b", "b"), event("c", ""))
			a, b := mustFind(t, s, "a"), mustFind(t, s, "b")
			if err := tamper(s, func(tx *bolt.Tx) error {
				ready := tx.Bucket(s.bucket).Bucket(format.BucketReady)
				va, vb := exchange(ready.Get(format.ReadyKey(a.Seq)), ready.Get(format.ReadyKey(b.Seq)))
				format.Record(va).SetSum(format.Record(va).BodySum(), format.ReadyKey(a.Seq))
				format.Record(vb).SetSum(format.Record(vb).BodySum(), format.ReadyKey(b.Seq))
				if err := ready.Put(format.ReadyKey(a.Seq), va); err != nil {
					return err
				}
				return ready.Put(format.ReadyKey(b.Seq), vb)
			}); err != nil {
				t.Fatal(err)
			}
			wantError(t, s.Check(t.Context()), ErrCorrupt)
			got := drain(t, s)
			if slices.Contains(got, "a") || !slices.Contains(got, "c") || slices.Contains(got, "b") != (name != "payloads") {
				t.Errorf("delivered %q", got)
			}
			for _, it := range list(t, s.Dead()) {
				if !strings.Contains(it.LastErr, `damaged: sealed under key "k1"`) || strings.Contains(string(it.Payload), "payload of") {
					t.Errorf("dead: %+v", it)
				}
			}
		})
	}
}

// Only what lies among the dead may be plain, and that is never sent.
func TestPlantedRecordIsQuarantined(t *testing.T) {
	for _, flags := range []byte{0, format.FlagDamaged} {
		s := newStore(t, sealed(t, "k1"))
		put(t, s, event("a", ""), event("b", ""))
		a := mustFind(t, s, "a")
		if err := tamper(s, func(tx *bolt.Tx) error {
			ready := tx.Bucket(s.bucket).Bucket(format.BucketReady)
			it := event("planted", "")
			it.Payload = make([]byte, format.Record(ready.Get(format.ReadyKey(a.Seq))).PayloadLen()) // so that the sums hold
			v := format.Encode(&it)
			v[1] = flags
			format.Record(v).SetSum(format.Record(v).BodySum(), format.ReadyKey(a.Seq))
			return ready.Put(format.ReadyKey(a.Seq), v)
		}); err != nil {
			t.Fatal(err)
		}
		wantNames(t, "delivered", drain(t, s), "b")
		if dead := list(t, s.Dead()); len(dead) != 1 || !strings.Contains(dead[0].LastErr, "damaged") {
			t.Errorf("dead: %+v", dead)
		}
	}
}

// plainRemains puts into a plain lane n failed items, each with its own key, one more behind each of
// the first, one that is scheduled, one that is dead.
func plainRemains(t *testing.T, path string, n int) {
	t.Helper()
	s := openStore(t, path, nil)
	var items []sender.Item
	for i := range n {
		items = append(items, event(fmt.Sprint("first ", i), fmt.Sprint("key ", i)))
	}
	put(t, s, items...)
	var outcomes []sender.Outcome
	for len(outcomes) < n {
		for _, it := range claims(t, s, n) {
			outcomes = append(outcomes, failed(it, sender.Retry, time.Now()))
		}
	}
	settle(t, s, outcomes...)
	for i := range items {
		items[i] = event(fmt.Sprint("second ", i), items[i].Key)
	}
	put(t, s, items[:100]...)
	timed := event("timed", "key 0")
	timed.Due = time.Now().Add(time.Hour)
	put(t, s, timed)
	checkedClose(t, s)
}

// Sealing is turned on for a lane that holds plain records; the process may die after any commit of it.
func TestSealingIsTurnedOn(t *testing.T) {
	t.Parallel()
	const n = 2*boltfile.MaxGroup + 100
	dir := t.TempDir()
	path := filepath.Join(dir, "outbox.db")
	plainRemains(t, path, n)
	opts, err := sealed(t, "k1").withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	f, err := boltfile.Open(path, boltfile.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var copies []string
	f.SetFault(func(committed bool) error {
		if !committed {
			return nil
		}
		copies = append(copies, filepath.Join(dir, fmt.Sprint("copy", len(copies))))
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(copies[len(copies)-1], raw, 0o600)
	})
	s := makeStore(format.DefaultLane, opts, newClock(time.Now))
	if err := s.enter(f); err != nil {
		t.Fatal(err)
	}
	f.SetFault(nil)
	checkedClose(t, s)
	if len(copies) < 4 {
		t.Errorf("%d commits for %d failed items", len(copies), n)
	}
	for i, path := range append(copies, path) {
		if testing.Short() && i%2 == 1 {
			continue
		}
		_, err := Open(path, &prompt)
		wantSealed(t, err, `"k1"`)
		s := openStore(t, path, sealed(t, "k1"))
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("copy %d: %v", i, err)
		}
		put(t, s, event("third", "key 7"))
		// First all heads, none of those behind them.
		var items []sender.Item
		for len(items) < n {
			more := claims(t, s, n)
			if len(more) == 0 {
				break
			}
			items = append(items, more...)
		}
		for _, it := range items {
			if !strings.HasPrefix(it.Kind, "first") {
				t.Errorf("copy %d: %q before the first of %q was settled", i, it.Kind, it.Key)
			}
		}
		if len(items) != n {
			t.Errorf("copy %d: %d claimed, want %d", i, len(items), n)
		}
		settle(t, s, failed(items[0], sender.Retry, time.Now().Add(time.Hour)), failed(items[1], sender.Dead, time.Time{}))
		settle(t, s, delivered(items[2:]...)...)
		got := drain(t, s)
		if len(got) != 100 || slices.Index(got, "second 7") > slices.Index(got, "third") || slices.Contains(got, "second 0") {
			t.Errorf("copy %d: then %d delivered: %q", i, len(got), got)
		}
		if c := s.Counts(); c.Scheduled != 1 || c.Retrying != 1 || c.InLine != 1 || c.Dead != 1 || c.Pending != 3 {
			t.Errorf("copy %d: counts %+v", i, c)
		}
		checkedClose(t, s)
	}
}

func TestAESGCMRefuses(t *testing.T) {
	key := make([]byte, 32)
	for _, tt := range []struct {
		current string
		keys    map[string][]byte
		want    string
	}{
		{"k1", nil, `"k1"`},
		{"k1", map[string][]byte{"k2": key}, `"k1"`},
		{"", map[string][]byte{"": key}, "0 bytes, 1 to 255"},
		{"k1", map[string][]byte{"k1": key, strings.Repeat("x", 256): key}, "256 bytes, 1 to 255"},
		{"k1", map[string][]byte{"k1": key[:16]}, `"k1" has 16 bytes, 32`},
		{"k1", map[string][]byte{"k1": append(key, 0)}, `"k1" has 33 bytes, 32`},
	} {
		if _, err := AESGCM(tt.current, tt.keys); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

func TestAESGCM(t *testing.T) {
	keys := map[string][]byte{"k1": bytes.Repeat([]byte{1}, 32), "k2": bytes.Repeat([]byte{2}, 32)}
	s, err := AESGCM("k1", keys)
	if err != nil {
		t.Fatal(err)
	}
	clear(keys["k1"]) // it has copied them
	delete(keys, "k2")
	again, err := AESGCM("k1", map[string][]byte{"k1": bytes.Repeat([]byte{1}, 32), "k2": bytes.Repeat([]byte{2}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	plain, additional := []byte("a secret"), []byte("its place")
	for _, id := range []string{"k1", "k2"} {
		one, err := s.Seal([]byte("head"), id, plain, additional)
		if err != nil || !bytes.HasPrefix(one, []byte("head")) || bytes.Contains(one, plain) {
			t.Fatalf("sealed %q, %v", one, err)
		}
		two, err := s.Seal([]byte("head"), id, plain, additional)
		if err != nil || bytes.Equal(one, two) {
			t.Errorf("twice the same: %x, %v", two, err)
		}
		if got, err := again.Open([]byte("head"), id, one[4:], additional); err != nil || string(got) != "heada secret" {
			t.Errorf("opened %q, %v", got, err)
		}
		for what, open := range map[string]func() ([]byte, error){
			"other additional data": func() ([]byte, error) { return s.Open(nil, id, one[4:], plain) },
			"another key": func() ([]byte, error) {
				return s.Open(nil, map[string]string{"k1": "k2", "k2": "k1"}[id], one[4:], additional)
			},
			"cut":     func() ([]byte, error) { return s.Open(nil, id, one[4:len(one)-1], additional) },
			"nothing": func() ([]byte, error) { return s.Open(nil, id, nil, additional) },
		} {
			_, err := open()
			wantError(t, err, ErrCorrupt)
			if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "place")) {
				t.Errorf("%s: error %q", what, err)
			}
		}
	}
	for _, err := range []error{
		func() error { _, err := s.Seal(nil, "k3", plain, nil); return err }(),
		func() error { _, err := s.Open(nil, "k3", plain, nil); return err }(),
	} {
		if err == nil || strings.Contains(err.Error(), "damaged") {
			t.Errorf("a key that is not there: error %v", err)
		}
	}
}

// Vectors computed by hand: HMAC-SHA256, cut, from RFC 4231, test cases 1 and 2 with the key padded to
// the block, which HMAC takes for the same key.
func TestHashOfSealedLane(t *testing.T) {
	pad := func(key []byte) []byte { return append(key, make([]byte, 32-len(key))...) }
	for _, tt := range []struct {
		secret []byte
		key    string
		want   uint64
	}{
		{pad(bytes.Repeat([]byte{0x0b}, 20)), "Hi There", 0xb0344c61d8db3853},
		{pad([]byte("Jefe")), "what do ya want for nothing?", 0x5bdcc146bf60754e},
		{pad([]byte("Jefe")), "", 0},
	} {
		c := new(codec)
		c.set(named("k1"), nil, append(tt.secret, make([]byte, 8)...))
		if got := c.hash([]byte(tt.key)); got != tt.want {
			t.Errorf("hash of %q is %x, want %x", tt.key, got, tt.want)
		}
	}
}

func FuzzOpenSealed(f *testing.F) {
	c := newCodec(f, "lane", "k1")
	k := format.ReadyKey(7)
	f.Add(sealedRecord(f, c, event("ping", "key"), k))
	f.Add(stamped(event("ping", "key"), k))
	f.Add([]byte{})
	genuine := sealedRecord(f, c, event("ping", "key"), k)
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) < format.CrcLen {
			return
		}
		v = bytes.Clone(v)
		format.Record(v).SetSum(format.Record(v).BodySum(), k)
		c.recordHash(v)
		new(codec).recordHash(v)
		_, _ = new(codec).decode(k, v)
		format.Record(v).FailedAt()
		it, err := c.decode(k, v)
		if err == nil && !format.Record(v).IsDamaged() && (it.Kind != "ping" || len(v) != len(genuine)) { // it opens what it has sealed
			t.Errorf("opened %x as %+v", v, it)
		}
	})
}
