package format

import (
	"encoding/binary"
	"math"
	"time"
)

// Nanos returns a time in nanoseconds since 1970, or the nearest number that the file can hold:
// from 1 up to the end of int64, in 2262.
func Nanos(t time.Time) int64 {
	switch s := t.Unix(); {
	case s < 0:
		return 1
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return max(t.UnixNano(), 1)
}

// A Key is the bucket key of a record; the table in the package comment shows the forms. A Key
// sorts by its bytes, so a bucket is in the order of due time, then Seq. It is not the key of the
// item, by which items are ordered.
type Key []byte

// ReadyKey returns the key in ready or dead of the item with this Seq.
func ReadyKey(seq uint64) Key { return AppendReadyKey(nil, seq) }

// AppendReadyKey appends a [ReadyKey] to k.
func AppendReadyKey(k []byte, seq uint64) Key { return binary.BigEndian.AppendUint64(k, seq) }

// TimedKey returns the key in timed of an item that is due at a time, in nanoseconds by the wall
// clock.
func TimedKey(due int64, seq uint64) Key { return AppendTimedKey(make([]byte, 0, 16), due, seq) }

// AppendTimedKey appends a [TimedKey] to k.
func AppendTimedKey(k []byte, due int64, seq uint64) Key {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, uint64(due)), seq)
}

// LaterKey returns the key in later of an item whose next try is due at a time, in nanoseconds by
// the clock of the file. hash is the hash of the item's key; 0: it has none. See [HashKey].
func LaterKey(due int64, seq, hash uint64) Key {
	return AppendLaterKey(make([]byte, 0, 24), due, seq, hash)
}

// AppendLaterKey appends a [LaterKey] to k.
func AppendLaterKey(k []byte, due int64, seq, hash uint64) Key {
	k = binary.BigEndian.AppendUint64(k, uint64(due))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, seq), hash)
}

// Due returns the due time of a key in timed or later, in nanoseconds. It panics on a key of less
// than 8 bytes.
func (k Key) Due() int64 { return int64(binary.BigEndian.Uint64(k)) }

// Hash returns the hash of the item's key from a key in later; 0: the item has no key. It panics on
// a key of less than 24 bytes.
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k[16:]) }

// Seq returns the Seq of any bucket key; 0: the length is not the length of a bucket key.
func (k Key) Seq() uint64 {
	switch len(k) {
	case 8:
		return binary.BigEndian.Uint64(k)
	case 16, 24:
		return binary.BigEndian.Uint64(k[8:]) // after the due time
	}
	return 0
}

// HashKey returns the 8-byte hash by which the lane orders the items of one key: FNV-1a. It is 0
// only for the empty key. Two keys with the same hash share one order, which is harmless.
func HashKey[T string | []byte](key T) uint64 {
	if len(key) == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return max(h, 1)
}
