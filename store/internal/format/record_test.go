package format_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// decode reads a record as it lies under k, in a lane that is not sealed.
func decode(k, v []byte) (sender.Item, error) {
	if err := format.Record(v).Verify(k); err != nil {
		return sender.Item{}, err
	}
	return format.Record(v).Item(new(format.Interned))
}

// stamped is the record of an item as it lies under k.
func stamped(it sender.Item, k []byte) []byte {
	v := format.Encode(&it)
	format.Record(v).SetSum(format.Record(v).BodySum(), k)
	return v
}

func randomItem(rng *rand.Rand) sender.Item {
	text := func(n int) string {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	it := sender.Item{
		Kind: text(40), Key: text(40), Payload: []byte(text(3000)),
		Created: time.Unix(0, rng.Int64()),
	}
	for i := range it.ID {
		it.ID[i] = byte(rng.Uint32())
	}
	if rng.IntN(2) == 0 {
		it.Expires = time.Unix(0, rng.Int64())
	}
	for range rng.IntN(5) {
		if it.Header == nil {
			it.Header = make(map[string]string)
		}
		it.Header[text(20)] = text(200)
	}
	return it
}

func TestRecordKeepsEveryField(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		it := randomItem(rng)
		k := format.ReadyKey(rng.Uint64())
		v := stamped(it, k)
		for range rng.IntN(4) { // it fails
			it.Attempts, it.Failures = int(rng.Int32()), 1+int(rng.Int32N(1<<30))
			it.FailedAt, it.LastErr = time.Unix(0, rng.Int64()), fmt.Sprint("reason ", rng.Uint64())
			it.History = append(it.History, sender.Failure{At: it.FailedAt, Reason: it.LastErr})
			var err error
			if v, err = format.Record(v).Amend(it.Attempts, it.Failures, it.FailedAt, it.LastErr); err != nil {
				t.Fatal(err)
			}
			k = format.LaterKey(rng.Int64(), rng.Uint64(), format.HashKey(it.Key))
			format.Record(v).SetSum(format.Record(v).BodySum(), k)
		}
		got, err := decode(k, v)
		if err != nil || !storetest.Same(got, it) {
			t.Fatalf("seed %d: decoded %+v, %v\nwant %+v", seed, got, err, it)
		}
	}
}

// The bytes of a record and of the ledger, written out by hand: they are format 1, for ever. The
// checksums are compared with a CRC-32C computed from its definition.
func TestRecordFormat(t *testing.T) {
	it := sender.Item{
		ID:      uuid.UUID{0x01, 0x8f, 2, 3, 4, 5, 0x76, 7, 0x88, 9, 10, 11, 12, 13, 14, 15},
		Kind:    "ping",
		Key:     "k1",
		Header:  map[string]string{"b": "2", "a": "1"},
		Payload: []byte("body"),
		Created: time.Unix(1, 2), Expires: time.Unix(3, 0),
	}
	v := stamped(it, []byte{0, 0, 0, 0, 0, 0, 0, 9})
	v, err := format.Record(v).Amend(1, 2, time.Unix(4, 5), "503")
	if err != nil {
		t.Fatal(err)
	}
	k := []byte{0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8}
	format.Record(v).SetSum(format.Record(v).BodySum(), k)
	want := strings.Join([]string{
		"01",                               // version
		"00",                               // flags
		"018f02030405760788090a0b0c0d0e0f", // ID
		"000000003b9aca02",                 // created: 1,000,000,002 ns
		"00000000b2d05e00",                 // expires: 3,000,000,000 ns
		"00000001",                         // attempts
		"00000002",                         // failures
		"0004", "0002",                     // lengths of kind and key
		"00000014", "0000000d", "00000004", // of header, log, payload
		"70696e67",                                           // ping
		"6b31",                                               // k1
		"00000001 61 00000001 31", "00000001 62 00000001 32", // a: 1, b: 2
		"00000000ee6b2805", "0003", "353033", // 4,000,000,005 ns, 503
		"626f6479", // body
	}, "")
	raw, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	n := len(v) - 4
	if !bytes.Equal(v[:n], raw) {
		t.Errorf("record\n%x, want\n%x", v[:n], raw)
	}
	if got, want := v[n:], slowCRC(append(raw, k...)); !bytes.Equal(got, want) {
		t.Errorf("checksum %x, want %x", got, want)
	}
	l := format.Ledger{Ready: 1, Timed: 2, Later: 3, Dead: 4, Bytes: 5, DeadBytes: 6, Put: 7, Delivered: 8, Expired: 9, Dropped: 10}
	var counts []byte
	for i := range byte(10) {
		counts = append(counts, 0, 0, 0, 0, 0, 0, 0, i+1)
	}
	if got, want := l.Encode(), append(counts, slowCRC(counts)...); !bytes.Equal(got, want) {
		t.Errorf("ledger\n%x, want\n%x", got, want)
	}
}

// slowCRC is CRC-32C bit by bit, from its definition.
func slowCRC(b []byte) []byte {
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			carry := crc & 1
			if crc >>= 1; carry == 1 {
				crc ^= 0x82f63b78
			}
		}
	}
	crc = ^crc
	return []byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)}
}

func TestRecordDetectsEveryFlippedBit(t *testing.T) {
	it := storetest.Event("ping", "k1")
	it.Header = map[string]string{"a": "1"}
	k := format.ReadyKey(9)
	v, err := format.Record(stamped(it, k)).Amend(1, 1, storetest.Born, "503")
	if err != nil {
		t.Fatal(err)
	}
	format.Record(v).SetSum(format.Record(v).BodySum(), k)
	if _, err := decode(k, v); err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(v) {
		v[bit/8] ^= 1 << (bit % 8)
		if _, err := decode(k, v); err == nil {
			t.Errorf("bit %d of byte %d flipped, and nobody noticed", bit%8, bit/8)
		}
		v[bit/8] ^= 1 << (bit % 8)
	}
	for bit := range 8 * len(k) {
		k[bit/8] ^= 1 << (bit % 8)
		if _, err := decode(k, v); err == nil {
			t.Errorf("valid in another place: bit %d of byte %d of the bucket key", bit%8, bit/8)
		}
		k[bit/8] ^= 1 << (bit % 8)
	}
	for n := range v {
		if _, err := decode(k, v[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes, and nobody noticed", n, len(v))
		}
	}
}

func TestRecordRefusesWhatItDoesNotKnow(t *testing.T) {
	k := format.ReadyKey(9)
	for _, tt := range []struct {
		off  int
		to   byte
		want string // in the error
	}{
		{0, 2, "version 2, this build knows 1"},
		{0, 0, "version 0"},
		{1, 0x0f, "codec 15"},
		{1, 0x40, "0x40"},
		{1, 0x80, "0x80"},
	} {
		v := stamped(storetest.Event("ping", ""), k)
		v[tt.off] = tt.to
		format.Record(v).SetSum(format.Record(v).BodySum(), k) // a valid record of a later build
		if _, err := decode(k, v); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("byte %d is %#x: error %v, want one with %q", tt.off, tt.to, err, tt.want)
		}
	}
}

func TestHashKey(t *testing.T) {
	// FNV-1a, from the reference vectors of its authors: it is on disk, in the keys of later.
	for key, want := range map[string]uint64{"": 0, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8} {
		if got := format.HashKey(key); got != want || format.HashKey([]byte(key)) != want {
			t.Errorf("hash of %q is %x, want %x", key, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	k := format.ReadyKey(7)
	it := storetest.Event("ping", "key")
	it.Header = map[string]string{"a": "1", "b": ""}
	f.Add(stamped(it, k), true)
	v, err := format.Record(stamped(it, k)).Amend(3, 4, storetest.Born, "503")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(v), true)
	f.Add([]byte(format.Quarantine(v, storetest.Born, pages.ErrCorrupt)), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, v []byte, fix bool) {
		if fix && len(v) >= format.CrcLen { // so that more than the checksum is tried
			v = bytes.Clone(v)
			format.Record(v).SetSum(format.Record(v).BodySum(), k)
		}
		format.Record(v).PayloadLen()
		format.Record(v).ID()
		format.Record(v).Created()
		format.Record(v).FailedAt()
		it, err := decode(k, v)
		if err != nil {
			return
		}
		// Names are unique and sorted in what encode writes; that may differ here.
		if it.Failures == 0 && it.Attempts == 0 && len(it.History) == 0 && canonical(it.Header, v) && v[1] == 0 {
			if again := stamped(it, k); !bytes.Equal(again, v) {
				t.Errorf("record\n%x became\n%x", v, again)
			}
		}
		bad := format.Quarantine(v, storetest.Born, pages.ErrCorrupt)
		format.Record(bad).SetSum(format.Record(bad).BodySum(), k)
		if kept, err := decode(k, bad); err != nil || !bytes.Equal(kept.Payload, v) {
			t.Errorf("dead as damaged: %v, payload\n%x, want\n%x", err, kept.Payload, v)
		}
	})
}

// canonical reports whether the header of record v is as encode writes it.
func canonical(header map[string]string, v []byte) bool {
	var want []byte
	for _, name := range slices.Sorted(maps.Keys(header)) {
		want = format.AppendString(format.AppendString(want, name), header[name])
	}
	p, err := format.Record(v).Split()
	return err == nil && bytes.Equal(p.Header, want)
}
