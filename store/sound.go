package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// What bbolt reads from a damaged page may be anything: a key of another length, a key out of order,
// which it then does not find, or a record that it does not remove. What follows recognizes that, so
// that a lane stops with ErrCorrupt where it would skip items in silence, or meet one for ever.

// isBucket reports whether a lane has a bucket of that name.
func isBucket(name string) bool {
	for _, b := range [...][]byte{bucketMeta, bucketReady, bucketTimed, bucketLater, bucketDead, bucketNotes} {
		if name == string(b) {
			return true
		}
	}
	return false
}

// sound looks, in the lane called name, for damage that hides what is in it, or by which new items would
// take the places of others.
func (t *txn) sound(name []byte) error {
	c := t.root.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if v != nil || !isBucket(string(k)) {
			return fmt.Errorf("%w: it holds %q, which no lane does", ErrCorrupt, short(k))
		}
	}
	if last := t.root.Sequence(); t.ledger.Put > last {
		return fmt.Errorf("%w: %d items were put, and %d is the last Seq", ErrCorrupt, t.ledger.Put, last)
	}
	for _, b := range [...]struct {
		name string
		b    *bolt.Bucket
	}{{"ready", t.ready}, {"dead", t.dead}} {
		if k, v := b.b.Cursor().Last(); k != nil {
			if err := t.met(b.name, k, v, 8); err != nil {
				return err
			}
		}
	}
	if was := cutSum(t.meta.Get(metaName)); was != nil && !bytes.Equal(was, name) {
		return fmt.Errorf("%w: its name was %q", ErrCorrupt, was)
	}
	return nil
}

// met says what is wrong with an entry that a cursor met in a bucket with keys of n bytes.
func (t *txn) met(bucket string, k, v []byte, n int) error {
	seq, last := keySeq(k), t.root.Sequence()
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

// ascends says what is wrong with key k right behind last in a bucket; nil: it is the first.
func ascends(bucket string, last, k []byte) error {
	if last != nil && bytes.Compare(k, last) <= 0 {
		return fmt.Errorf("%w: %s: bucket key %x behind %x", ErrCorrupt, bucket, short(k), short(last))
	}
	return nil
}

// unfound is the error of a key that a cursor met, and that is not found.
func unfound(bucket string, k []byte) error {
	return fmt.Errorf("%w: %s: record %d lies where nobody finds it", ErrCorrupt, bucket, keySeq(k))
}

// lies reports whether a cursor meets key k in b, wherever that may be: it reads all keys.
func lies(b *bolt.Bucket, k []byte) bool {
	c := b.Cursor()
	for at, _ := c.First(); at != nil; at, _ = c.Next() {
		if bytes.Equal(at, k) {
			return true
		}
	}
	return false
}

// remove deletes key k from b, once and for all.
func (t *txn) remove(b *bolt.Bucket, k []byte) error {
	if t.get(b, k) == nil {
		return fmt.Errorf("%w: record %d is not found where it was", ErrCorrupt, keySeq(k))
	}
	if err := t.finger(b).Delete(); err != nil {
		return err
	}
	if t.get(b, k) != nil {
		return fmt.Errorf("%w: record %d was deleted, and is still there", ErrCorrupt, keySeq(k))
	}
	return nil
}

// missing says what the ledger knows of that a claim which found nothing should have met.
func (t *txn) missing(w *walk) error {
	l := &t.ledger
	if len(w.flights)+w.waiting+len(w.near) > 0 || w.hasTurns() {
		return nil
	}
	if l.Ready > 0 {
		return fmt.Errorf("%w: ready: nothing behind record %d, and the ledger has %d", ErrCorrupt, w.cursor, l.Ready)
	}
	for _, b := range [...]struct {
		name string
		b    *bolt.Bucket
		n    uint64
	}{{"timed", t.timed, l.Timed}, {"later", t.later, l.Later}} {
		if k, _ := b.b.Cursor().First(); k == nil && b.n > 0 {
			return fmt.Errorf("%w: %s: no records, and the ledger has %d", ErrCorrupt, b.name, b.n)
		}
	}
	return nil
}

// hurt notes that damage is in the way of the lane, if that is what err says.
func (s *Store) hurt(err error) {
	if errors.Is(err, ErrCorrupt) {
		kept := err
		s.damage.Store(&kept)
	}
}

// withSum returns b and its CRC-32C, as meta keeps it.
func withSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli))
}

// cutSum is the inverse of withSum; nil: the checksum does not hold.
func cutSum(b []byte) []byte {
	n := len(b) - crcLen
	if n < 1 || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return nil
	}
	return b[:n:n]
}

// notRenamed reports whether a lane that is not there lies under another name.
func notRenamed(tx *bolt.Tx, name []byte) error {
	return tx.ForEach(func(k []byte, lane *bolt.Bucket) error {
		if meta := lane.Bucket(bucketMeta); meta != nil && bytes.Equal(cutSum(meta.Get(metaName)), name) {
			return fmt.Errorf("%w: lane %q lies under the name %q", ErrCorrupt, name, short(k))
		}
		return nil
	})
}
