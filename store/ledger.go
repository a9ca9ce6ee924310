package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ledger accounts for every event of a lane. It changes in the transaction that changes the buckets:
// Put = Ready + Timed + Later + Dead + Delivered + Expired + Dropped, always.
type ledger struct {
	Ready, Timed, Later, Dead        uint64 // records in each bucket
	Bytes, DeadBytes                 uint64 // of payloads, pending and dead
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
)

// formatVersion is checked before anything else in a lane is read.
const formatVersion = 1

// A txn is one lane inside one transaction. The ledger is written by flush when it has changed.
type txn struct {
	root                            *bolt.Bucket
	meta, ready, timed, later, dead *bolt.Bucket
	ledger, before                  ledger
	longest                         time.Duration

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
	if v := binary.BigEndian.Uint32(f); v != formatVersion {
		return nil, fmt.Errorf("%w: bucket %q has format %d, this build knows up to %d", ErrFormat, name, v, formatVersion)
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
	root, err := tx.CreateBucket(name)
	if err != nil {
		return err
	}
	for _, b := range [...][]byte{bucketMeta, bucketReady, bucketTimed, bucketLater, bucketDead} {
		if _, err := root.CreateBucket(b); err != nil {
			return err
		}
	}
	meta := root.Bucket(bucketMeta)
	if err := meta.Put(metaFormat, binary.BigEndian.AppendUint32(nil, formatVersion)); err != nil {
		return err
	}
	return meta.Put(metaLedger, new(ledger).encode())
}

func (t *txn) flush() error {
	if t.ledger == t.before {
		return nil
	}
	t.before = t.ledger
	return t.meta.Put(metaLedger, t.ledger.encode())
}

// add seals a record under its key and puts it there.
func add(b *bolt.Bucket, key, rec []byte) error {
	seal(rec, body(rec), key)
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
