package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// bbolt trusts the pages that it reads. From a damaged page it may return anything: a key of
// another length, a key out of order, which a search then does not find, or a record that it does
// not delete. The functions here recognize that. So a lane stops with [ErrCorrupt] where it would
// otherwise skip items without a word, or read one item again and again.

// IsBucket reports whether a lane may have a bucket with this name.
func IsBucket(name string) bool {
	for _, b := range [...][]byte{BucketMeta, BucketReady, BucketTimed, BucketLater, BucketDead, BucketNotes} {
		if name == string(b) {
			return true
		}
	}
	return false
}

// CheckLane returns [ErrCorrupt] when damage hides what is in the lane, which has this name, or
// would let new items overwrite old ones. It reads a few pages, not all records.
func (l *Lane) CheckLane(name []byte) error {
	c := l.Root.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v != nil || !IsBucket(string(k)) {
			return fmt.Errorf("%w: it holds %q, which no lane does", ErrCorrupt, pages.Short(k))
		}
	}
	if last := l.Root.Sequence(); l.Ledger.Put > last {
		return fmt.Errorf("%w: %d items were put, and %d is the last Seq", ErrCorrupt, l.Ledger.Put, last)
	}
	for _, b := range [...]struct {
		name string
		b    *bolt.Bucket
	}{{"ready", l.Ready}, {"dead", l.Dead}} {
		if k, v := b.b.Cursor().Last(); k != nil {
			if err := l.CheckEntry(b.name, k, v, 8); err != nil {
				return err
			}
		}
	}
	if was := CutSum(l.Meta.Get(MetaName)); was != nil && !bytes.Equal(was, name) {
		return fmt.Errorf("%w: its name was %q", ErrCorrupt, was)
	}
	return nil
}

// CheckEntry returns [ErrCorrupt] when an entry cannot be a record of a bucket with keys of n
// bytes: key k has another length, its Seq was never assigned, or v is nil, as bbolt returns it for
// a bucket. bucket is the name for the error.
func (l *Lane) CheckEntry(bucket string, k Key, v Record, n int) error {
	seq, last := k.Seq(), l.Root.Sequence()
	switch {
	case len(k) != n:
		return fmt.Errorf("%w: %s: bucket key of %d bytes, %d expected", ErrCorrupt, bucket, len(k), n)
	case v == nil:
		return fmt.Errorf("%w: %s: a bucket where record %d is expected", ErrCorrupt, bucket, seq)
	case seq == 0 || seq > last:
		return fmt.Errorf("%w: %s: record %d, and %d is the last Seq", ErrCorrupt, bucket, seq, last)
	}
	return nil
}

// CheckOrder returns [ErrCorrupt] when a cursor returned key k right after key last, and k is not
// above it. A nil last means that k is the first key.
func CheckOrder(bucket string, last, k Key) error {
	if last != nil && bytes.Compare(k, last) <= 0 {
		return fmt.Errorf("%w: %s: bucket key %x behind %x", ErrCorrupt, bucket, pages.Short(k), pages.Short(last))
	}
	return nil
}

// Unreachable returns the [ErrCorrupt] of a record that a cursor returned and that a search for its
// key does not find.
func Unreachable(bucket string, k Key) error {
	return fmt.Errorf("%w: %s: record %d lies where a search does not find it", ErrCorrupt, bucket, k.Seq())
}

// ScanFor reports whether b holds key k anywhere, also where a search does not find it. It reads
// all keys of b.
func ScanFor(b *bolt.Bucket, k Key) bool {
	c := b.Cursor()
	for at, _ := c.First(); at != nil; at, _ = c.Next() {
		if bytes.Equal(at, k) {
			return true
		}
	}
	return false
}

// WithSum returns a copy of b followed by its CRC-32C, as bucket meta keeps it.
func WithSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, Castagnoli))
}

// CutSum is the inverse of [WithSum]. The result aliases b. It is nil when the checksum is wrong,
// or when nothing precedes it.
func CutSum(b []byte) []byte {
	n := len(b) - CrcLen
	if n < 1 || crc32.Checksum(b[:n], Castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil
	}
	return b[:n:n]
}
