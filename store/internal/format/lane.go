package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/seed8107221f/outbox/store/internal/pages"

	bolt "go.etcd.io/bbolt"
)

// The buckets of a lane and the keys of its meta bucket.
var (
	BucketMeta  = []byte("meta")
	BucketReady = []byte("ready")
	BucketTimed = []byte("timed")
	BucketLater = []byte("later")
	BucketDead  = []byte("dead")
	BucketNotes = []byte("notes") // made with the first note

	MetaFormat  = []byte("format")  // 4 bytes
	MetaLedger  = []byte("ledger")  // ledger.encode
	metaPaused  = []byte("paused")  // until and when it was told, nanoseconds, 8 bytes each
	metaLongest = []byte("longest") // longest delay a retry was ever given, nanoseconds, 8 bytes
	metaLargest = []byte("largest") // bytes that no record is larger than, if some are large; 8 bytes
	MetaSecret  = []byte("secret")  // of a sealed lane, see vault.set: locked, CRC-32C
	MetaKey     = []byte("key ")    // and the id of a key that ever sealed: nothing, locked by it, CRC-32C
	MetaName    = []byte("name")    // of the lane, CRC-32C: a bit of the bucket's would make another lane of it; older ones have none
	MetaRehash  = []byte("rehash")  // there while entries of later may have the hash of a plain lane
)

// The format of a lane is checked before anything else in it is read.
const (
	formatPlain  = 1 // it never was open with a Sealer
	FormatSealed = 2 // it was: it has a secret, and its records may be sealed

	formatVersion = FormatSealed // the newest that this build knows
)

// What is wrong with a lane, or with a record in it.
var (
	ErrCorrupt = pages.ErrCorrupt
	ErrFormat  = pages.ErrFormat
)

// A lane is one lane inside one transaction, as it lies there: its buckets, and what its meta bucket says
// of them.
type Lane struct {
	Root                            *bolt.Bucket
	Meta, Ready, Timed, Later, Dead *bolt.Bucket
	Ledger                          Ledger        // as read, and as changed since; nobody but flush writes it
	Longest                         time.Duration // the longest delay that a retry was ever given
}

// openLane reads what every transition needs. It fails on a lane that is not there, not ours or newer.
func Open(tx *bolt.Tx, name []byte) (Lane, error) {
	l := Lane{Root: tx.Bucket(name)}
	if l.Root == nil {
		return l, fmt.Errorf("%w: no bucket %q", ErrFormat, name)
	}
	if l.Meta = l.Root.Bucket(BucketMeta); l.Meta == nil {
		return l, fmt.Errorf("%w: bucket %q is not a lane", ErrFormat, name)
	}
	f := l.Meta.Get(MetaFormat)
	if len(f) != 4 {
		return l, fmt.Errorf("%w: bucket %q has no format version", ErrFormat, name)
	}
	switch v := binary.BigEndian.Uint32(f); {
	case v < formatPlain || v > formatVersion:
		return l, fmt.Errorf("%w: bucket %q has format %d, this build knows up to %d", ErrFormat, name, v, formatVersion)
	case (v == FormatSealed) != (l.Meta.Get(MetaSecret) != nil):
		return l, fmt.Errorf("%w: lane %q has format %d, and only one of format %d has a secret", ErrCorrupt, name, v, FormatSealed)
	}
	for _, b := range [...]struct {
		name []byte
		to   **bolt.Bucket
	}{{BucketReady, &l.Ready}, {BucketTimed, &l.Timed}, {BucketLater, &l.Later}, {BucketDead, &l.Dead}} {
		if *b.to = l.Root.Bucket(b.name); *b.to == nil {
			return l, fmt.Errorf("%w: lane %q has no bucket %q", ErrCorrupt, name, b.name)
		}
	}
	// Both grow at their end alone, so full pages are never split again.
	l.Ready.FillPercent, l.Dead.FillPercent = 1, 1
	if err := l.Ledger.Decode(l.Meta.Get(MetaLedger)); err != nil {
		return l, fmt.Errorf("lane %q: %w", name, err)
	}
	if b := l.Meta.Get(metaLongest); len(b) == 8 {
		l.Longest = time.Duration(binary.BigEndian.Uint64(b))
	}
	return l, nil
}

// createLane makes an empty lane; one that exists is left as it is.
func Create(tx *bolt.Tx, name []byte) error {
	if tx.Bucket(name) != nil {
		return nil
	}
	if err := notRenamed(tx, name); err != nil {
		return err
	}
	root, err := tx.CreateBucket(name)
	if err != nil {
		return err
	}
	for _, b := range [...][]byte{BucketMeta, BucketReady, BucketTimed, BucketLater, BucketDead} {
		if _, err := root.CreateBucket(b); err != nil {
			return err
		}
	}
	l := &Lane{Meta: root.Bucket(BucketMeta)}
	if err := l.SetFormat(formatPlain); err != nil {
		return err
	}
	return errors.Join(l.Meta.Put(MetaName, WithSum(name)), l.Meta.Put(MetaLedger, new(Ledger).Encode()))
}

func (l *Lane) SetFormat(v uint32) error {
	return l.Meta.Put(MetaFormat, binary.BigEndian.AppendUint32(nil, v))
}

// paused reads the kept pause: its end, and when it was told; zero: none.
func (l *Lane) Paused() (until, told int64) {
	if b := l.Meta.Get(metaPaused); len(b) == 16 {
		until, told = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	}
	return until, told
}

func (l *Lane) SetPaused(until, told int64) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(until))
	return l.Meta.Put(metaPaused, binary.BigEndian.AppendUint64(b, uint64(told)))
}

func (l *Lane) SetLongest(d time.Duration) error {
	l.Longest = d
	return l.Meta.Put(metaLongest, binary.BigEndian.AppendUint64(nil, uint64(d)))
}

// muchBytes is the size of a record from which on a full disk needs a larger reserve for it.
const muchBytes = 64 << 10

// keepLargest notes, in powers of two, how large the records of the lane are.
func (l *Lane) KeepLargest(n int) error {
	if n <= muchBytes || n <= l.Largest() {
		return nil
	}
	return l.Meta.Put(metaLargest, binary.BigEndian.AppendUint64(nil, 1<<bits.Len(uint(n))))
}

func (l *Lane) Largest() int {
	if b := l.Meta.Get(metaLargest); len(b) == 8 {
		return int(min(binary.BigEndian.Uint64(b), MaxMaxPayload))
	}
	return 0
}
