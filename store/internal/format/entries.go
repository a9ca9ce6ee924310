package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// What bbolt reads from a damaged page may be anything: a key of another length, a key out of order,
// which it then does not find, or a record that it does not remove. What follows recognizes that, so
// that a lane stops with ErrCorrupt where it would skip items in silence, or meet one for ever.

// isBucket reports whether a lane has a bucket of that name.
func IsBucket(name string) bool {
	for _, b := range [...][]byte{BucketMeta, BucketReady, BucketTimed, BucketLater, BucketDead, BucketNotes} {
		if name == string(b) {
			return true
		}
	}
	return false
}

// checkLane looks, in the lane called name, for damage that hides what is in it, or by which new items would
// take the places of others.
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

// checkEntry says what is wrong with an entry that a cursor met in a bucket with keys of n bytes.
func (l *Lane) CheckEntry(bucket string, k, v []byte, n int) error {
	seq, last := Key(k).Seq(), l.Root.Sequence()
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

// checkOrder says what is wrong with key k right behind last in a bucket; nil: it is the first.
func CheckOrder(bucket string, last, k []byte) error {
	if last != nil && bytes.Compare(k, last) <= 0 {
		return fmt.Errorf("%w: %s: bucket key %x behind %x", ErrCorrupt, bucket, pages.Short(k), pages.Short(last))
	}
	return nil
}

// errUnreachable is the error of a key that a cursor met, and that is not found.
func Unreachable(bucket string, k []byte) error {
	return fmt.Errorf("%w: %s: record %d lies where nobody finds it", ErrCorrupt, bucket, Key(k).Seq())
}

// scanFor reports whether a cursor meets key k in b, wherever that may be: it reads all keys.
func ScanFor(b *bolt.Bucket, k []byte) bool {
	c := b.Cursor()
	for at, _ := c.First(); at != nil; at, _ = c.Next() {
		if bytes.Equal(at, k) {
			return true
		}
	}
	return false
}

// withSum returns b and its CRC-32C, as meta keeps it.
func WithSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, Castagnoli))
}

// cutSum is the inverse of withSum; nil: the checksum does not hold.
func CutSum(b []byte) []byte {
	n := len(b) - CrcLen
	if n < 1 || crc32.Checksum(b[:n], Castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil
	}
	return b[:n:n]
}

// notRenamed reports whether a lane that is not there lies under another name.
func notRenamed(tx *bolt.Tx, name []byte) error {
	return tx.ForEach(func(k []byte, lane *bolt.Bucket) error {
		if meta := lane.Bucket(BucketMeta); meta != nil && bytes.Equal(CutSum(meta.Get(MetaName)), name) {
			return fmt.Errorf("%w: lane %q lies under the name %q", ErrCorrupt, name, pages.Short(k))
		}
		return nil
	})
}
