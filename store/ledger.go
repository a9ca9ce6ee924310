package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ledger accounts for every event of a lane. It changes in the transaction that changes the buckets:
// Put = Ready + Timed + Later + Dead + Delivered + Expired + Dropped, always.
type ledger struct {
	Ready, Timed, Later, Dead        uint64 // records in each bucket
	Bytes, DeadBytes                 uint64 // by payloadLen, of records pending and dead
	Put, Delivered, Expired, Dropped uint64 // since the lane was made
}

func (l *ledger) fields() [10]*uint64 {
	return [...]*uint64{&l.Ready, &l.Timed, &l.Later, &l.Dead, &l.Bytes, &l.DeadBytes, &l.Put, &l.Delivered, &l.Expired, &l.Dropped}
}

func (l *ledger) pending() uint64 { return l.Ready + l.Timed + l.Later }

// encode returns the fields in order, 8 bytes each, and their CRC-32C.
func (l *ledger) encode() []byte {
	b := make([]byte, 0, 84)
	for _, f := range l.fields() {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (l *ledger) decode(b []byte) error {
	const n = 84
	if len(b) != n {
		return fmt.Errorf("%w: ledger of %d bytes, %d expected", ErrCorrupt, len(b), n)
	}
	if got, want := crc32.Checksum(b[:n-crcLen], castagnoli), binary.BigEndian.Uint32(b[n-crcLen:]); got != want {
		return fmt.Errorf("%w: ledger checksum %08x, %08x expected", ErrCorrupt, got, want)
	}
	for i, f := range l.fields() {
		*f = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}

// The buckets of a lane and the keys of its meta bucket.
var (
	bucketMeta  = []byte("meta")
	bucketReady = []byte("ready")
	bucketTimed = []byte("timed")
	bucketLater = []byte("later")
	bucketDead  = []byte("dead")

	metaFormat  = []byte("format")  // 4 bytes
	metaLedger  = []byte("ledger")  // ledger.encode
	metaPaused  = []byte("paused")  // until and when it was told, nanoseconds, 8 bytes each
	metaLongest = []byte("longest") // longest delay a retry was ever given, nanoseconds, 8 bytes
	metaLargest = []byte("largest") // bytes that no record is larger than, if some are large; 8 bytes
	metaSecret  = []byte("secret")  // of a sealed lane, see vault.set: locked, CRC-32C
	metaKey     = []byte("key ")    // and the id of a key that ever sealed: nothing, locked by it, CRC-32C
	metaName    = []byte("name")    // of the lane, CRC-32C: a bit of the bucket's would make another lane of it; older ones have none
	metaRehash  = []byte("rehash")  // there while entries of later may have the hash of a plain lane
)

// The format of a lane is checked before anything else in it is read.
const (
	formatPlain  = 1 // it never was open with a Sealer
	formatSealed = 2 // it was: it has a secret, and its records may be sealed

	formatVersion = formatSealed // the newest that this build knows
)

// A txn is one lane inside one transaction. The ledger is written by flush when it has changed.
type txn struct {
	root                            *bolt.Bucket
	meta, ready, timed, later, dead *bolt.Bucket
	ledger, before                  ledger
	longest                         time.Duration

	unsized      bool      // a record has gone whose own size was lost: flush counts all bytes again
	fingers      [4]finger // so that each bucket needs one cursor
	appended     bool      // something may be due that was not
	firstCreated time.Time // Created of the first item appended to ready
	pause        time.Time // a pause this transaction keeps
}

// openTxn reads what every transition needs. It fails on a lane that is not there, not ours or newer.
func openTxn(tx *bolt.Tx, name []byte) (*txn, error) {
	t := &txn{root: tx.Bucket(name)}
	if t.root == nil {
		return nil, fmt.Errorf("%w: no bucket %q", ErrFormat, name)
	}
	if t.meta = t.root.Bucket(bucketMeta); t.meta == nil {
		return nil, fmt.Errorf("%w: bucket %q is not a lane", ErrFormat, name)
	}
	f := t.meta.Get(metaFormat)
	if len(f) != 4 {
		return nil, fmt.Errorf("%w: bucket %q has no format version", ErrFormat, name)
	}
	switch v := binary.BigEndian.Uint32(f); {
	case v < formatPlain || v > formatVersion:
		return nil, fmt.Errorf("%w: bucket %q has format %d, this build knows up to %d", ErrFormat, name, v, formatVersion)
	case (v == formatSealed) != (t.meta.Get(metaSecret) != nil):
		return nil, fmt.Errorf("%w: lane %q has format %d, and only one of format %d has a secret", ErrCorrupt, name, v, formatSealed)
	}
	for _, b := range [...]struct {
		name []byte
		to   **bolt.Bucket
	}{{bucketReady, &t.ready}, {bucketTimed, &t.timed}, {bucketLater, &t.later}, {bucketDead, &t.dead}} {
		if *b.to = t.root.Bucket(b.name); *b.to == nil {
			return nil, fmt.Errorf("%w: lane %q has no bucket %q", ErrCorrupt, name, b.name)
		}
	}
	// Both grow at their end alone, so full pages are never split again.
	t.ready.FillPercent, t.dead.FillPercent = 1, 1
	if err := t.ledger.decode(t.meta.Get(metaLedger)); err != nil {
		return nil, fmt.Errorf("lane %q: %w", name, err)
	}
	t.before = t.ledger
	if b := t.meta.Get(metaLongest); len(b) == 8 {
		t.longest = time.Duration(binary.BigEndian.Uint64(b))
	}
	return t, nil
}

// createLane makes an empty lane; one that exists is left as it is.
func createLane(tx *bolt.Tx, name []byte) error {
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
	for _, b := range [...][]byte{bucketMeta, bucketReady, bucketTimed, bucketLater, bucketDead} {
		if _, err := root.CreateBucket(b); err != nil {
			return err
		}
	}
	t := &txn{meta: root.Bucket(bucketMeta)}
	if err := t.setFormat(formatPlain); err != nil {
		return err
	}
	return errors.Join(t.meta.Put(metaName, withSum(name)), t.meta.Put(metaLedger, new(ledger).encode()))
}

func (t *txn) setFormat(v uint32) error {
	return t.meta.Put(metaFormat, binary.BigEndian.AppendUint32(nil, v))
}

// A finger is the cursor by which a bucket is searched. bolt.Bucket makes a new one for each call, which costs
// more than the search.
type finger struct {
	bucket *bolt.Bucket
	cursor *bolt.Cursor
}

func (t *txn) finger(b *bolt.Bucket) *bolt.Cursor {
	for i := range t.fingers {
		f := &t.fingers[i]
		if f.bucket == nil {
			*f = finger{b, b.Cursor()}
		}
		if f.bucket == b {
			return f.cursor
		}
	}
	return b.Cursor()
}

// get returns the value of key k in b, where the finger of b then is; nil: there is none.
func (t *txn) get(b *bolt.Bucket, k []byte) []byte {
	if at, v := t.finger(b).Seek(k); bytes.Equal(at, k) {
		return v
	}
	return nil
}

func (t *txn) flush() error {
	l := &t.ledger
	if t.unsized || int64(l.Bytes) < 0 || int64(l.DeadBytes) < 0 {
		if err := t.recount(); err != nil {
			return err
		}
	}
	if *l == t.before {
		return nil
	}
	for i, n := range [...]uint64{l.Ready, l.Timed, l.Later, l.Dead} {
		if int64(n) < 0 {
			return fmt.Errorf("%w: the ledger would count %d records in %s", ErrCorrupt, int64(n), [...]string{"ready", "timed", "later", "dead"}[i])
		}
	}
	t.before = t.ledger
	return t.meta.Put(metaLedger, t.ledger.encode())
}

// add stamps a record with its key and puts it there, where nothing may lie.
func add(b *bolt.Bucket, key, rec []byte) error {
	if b.Get(key) != nil {
		return fmt.Errorf("%w: a record is to lie under %x, and another does", ErrCorrupt, key)
	}
	stamp(rec, body(rec), key)
	return b.Put(key, rec)
}

// paused reads the kept pause: its end, and when it was told; zero: none.
func (t *txn) paused() (until, told int64) {
	if b := t.meta.Get(metaPaused); len(b) == 16 {
		until, told = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	}
	return until, told
}

func (t *txn) setPaused(until, told int64) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(until))
	return t.meta.Put(metaPaused, binary.BigEndian.AppendUint64(b, uint64(told)))
}

func (t *txn) setLongest(d time.Duration) error {
	t.longest = d
	return t.meta.Put(metaLongest, binary.BigEndian.AppendUint64(nil, uint64(d)))
}

// muchBytes is the size of a record from which on a full disk needs a larger reserve for it.
const muchBytes = 64 << 10

// keepLargest notes, in powers of two, how large the records of the lane are.
func (t *txn) keepLargest(n int) error {
	if n <= muchBytes || n <= t.largest() {
		return nil
	}
	return t.meta.Put(metaLargest, binary.BigEndian.AppendUint64(nil, 1<<bits.Len(uint(n))))
}

func (t *txn) largest() int {
	if b := t.meta.Get(metaLargest); len(b) == 8 {
		return int(min(binary.BigEndian.Uint64(b), maxMaxPayload))
	}
	return 0
}
