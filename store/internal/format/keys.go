package format

import "encoding/binary"

// hashKey names a key in 8 bytes: FNV-1a, and never 0, which stands for no key. Two keys with one
// hash merely share an order.
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

// A Key is where a record lies in its bucket, see the table of buckets: a Seq, in timed and later behind a
// time, in later before the hash of the item's own key.
type Key []byte

func ReadyKey(seq uint64) Key { return binary.BigEndian.AppendUint64(nil, seq) }

func TimedKey(due int64, seq uint64) Key { return AppendTimedKey(make([]byte, 0, 16), due, seq) }

func AppendTimedKey(k []byte, due int64, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, uint64(due)), seq)
}

func LaterKey(due int64, seq, hash uint64) Key {
	return AppendLaterKey(make([]byte, 0, 24), due, seq, hash)
}

func AppendLaterKey(k []byte, due int64, seq, hash uint64) []byte {
	k = binary.BigEndian.AppendUint64(k, uint64(due))
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(k, seq), hash)
}

// Keys read back; the caller has checked the length. seq is 0 for one that has no known length.
func (k Key) Due() int64   { return int64(binary.BigEndian.Uint64(k)) }
func (k Key) Hash() uint64 { return binary.BigEndian.Uint64(k[16:]) }
func (k Key) Seq() uint64 {
	switch len(k) {
	case 8:
		return binary.BigEndian.Uint64(k)
	case 16, 24:
		return binary.BigEndian.Uint64(k[8:]) // behind the due time
	}
	return 0
}
