// Package format defines what a lane looks like on disk: its buckets, their keys, the records in
// them and the ledger. It also makes the empty lane.
//
// A lane is one top-level bucket of a bbolt file. The bucket that a record lies in is the state of
// its item. Numbers are big endian. Times are nanoseconds since 1970 by the wall clock.
//
//	bucket  key                         value
//	meta    a name, see the Meta names  format version, ledger, pause, secret and the like
//	ready   Seq 8                       record of an item that may be sent at any time
//	timed   due 8, Seq 8                record of an item whose time has not come
//	later   due 8, Seq 8, key hash 8    record of an item that failed and waits for its next try
//	dead    Seq 8                       record of a dead item, or of one being sent at most once
//	notes   the caller's                the caller's; the bucket is made with the first note
//
// After every commit:
//
//   - Every item lies in exactly one bucket, under exactly one key.
//   - The ledger counts what the buckets hold. It changes in the transaction that changes them.
//   - No record has a Seq above the sequence of the lane's bucket.
//   - The checksum of a record covers its bucket key: a record is valid in its own place only.
//
// The package reads and writes inside a transaction of its caller. It takes no lock and reads no
// clock. docs/format.md describes the file format; docs/durability.md describes what damage costs.
package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// The buckets of a lane. All except notes exist from the start.
var (
	BucketMeta  = []byte("meta")
	BucketReady = []byte("ready")
	BucketTimed = []byte("timed")
	BucketLater = []byte("later")
	BucketDead  = []byte("dead")
	BucketNotes = []byte("notes")
)

// The keys of bucket meta. Format, ledger and name are there from the start; older lanes have no
// name. CRC means a CRC-32C of what precedes it, 4 bytes.
var (
	MetaFormat   = []byte("format")   // format version, 4 bytes
	MetaLedger   = []byte("ledger")   // see Ledger.Encode
	MetaName     = []byte("name")     // name of the lane, CRC. It tells when damage renamed the lane's bucket
	MetaSecret   = []byte("secret")   // of a sealed lane: key id and the sealed secret, CRC
	MetaKey      = []byte("key ")     // prefix; a key id follows. Key id and nothing, sealed with that key, CRC
	MetaOperator = []byte("operator") // pause of the operator, see EncodePause; absent: none was ever ordered
	MetaRehash   = []byte("rehash")   // present while keys in later may contain the key hash of a plain lane
	metaPaused   = []byte("paused")   // end of the pause 8, when it was told 8
	metaLongest  = []byte("longest")  // longest delay that a retry was ever given, nanoseconds, 8 bytes
	metaLargest  = []byte("largest")  // no record is larger than this many bytes, 8 bytes; absent: none is large
)

// DefaultLane is the name of the lane that every outbox file has.
const DefaultLane = "outbox"

// Limits of what a lane holds beside its items.
const (
	MaxLaneName    = 255      // bytes
	MaxNoteKey     = 255      // bytes
	MaxNote        = 4 << 10  // bytes of a note's value: each change rewrites it
	MaxQuarantined = 16 << 20 // bytes of a damaged record that are kept as a dead item
)

// Versions of the format. The version of a lane is checked before anything else in it is read. It
// has no checksum, so the number of the next format must differ from each other one in two bits at
// least, as 4, 7 and 8 do: see [DamagedVersion].
const (
	formatPlain   = 1            // the lane was never open with a Sealer
	FormatSealed  = 2            // the lane has a secret, and its records may be sealed
	formatVersion = FormatSealed // the newest version that this build knows
	formatLimit   = 64           // no build will get that far
)

// isLane reports whether the buckets are those of a lane, also if one of them is damaged.
func isLane(bucket func(name []byte) *bolt.Bucket) bool {
	n := 0
	for _, name := range [...][]byte{BucketMeta, BucketReady, BucketTimed, BucketLater, BucketDead} {
		if bucket(name) != nil {
			n++
		}
	}
	return n >= 3
}

// KnownVersion reports whether this build knows a format version.
func KnownVersion(v uint32) bool { return v >= formatPlain && v <= formatVersion }

// DamagedVersion reports whether a format version that this build does not know comes from damage
// rather than from a newer build. 0, and 64 and more, do. So does one that a single bit makes of a
// known one, if the lane has records and this build understands them.
func DamagedVersion(v uint32, understood bool) bool {
	return v == 0 || v >= formatLimit || understood && (bits.OnesCount32(v^formatPlain) == 1 || bits.OnesCount32(v^FormatSealed) == 1)
}

// understood reports whether the lane has records, and the first and the last one of each bucket
// are records of a known version.
func (l *Lane) understood() bool {
	n := 0
	for _, name := range [...][]byte{BucketReady, BucketTimed, BucketLater, BucketDead} {
		b := l.Root.Bucket(name)
		if b == nil {
			continue
		}
		c := b.Cursor()
		for _, end := range [...]func() (k, v []byte){c.First, c.Last} {
			k, v := end()
			if k == nil {
				break
			}
			if Record(v).Verify(k) != nil {
				return false
			}
			n++
		}
	}
	return n > 0
}

// What can be wrong with a lane or with a record in it.
var (
	ErrCorrupt = pages.ErrCorrupt // it is damaged
	ErrFormat  = pages.ErrFormat  // it is not a lane, or a newer version wrote it
)

// A Lane is one lane inside one transaction, as it is on disk: its buckets, and what its meta
// bucket says about them. It is valid as long as the transaction. It is not safe for concurrent
// use.
type Lane struct {
	Root                            *bolt.Bucket
	Meta, Ready, Timed, Later, Dead *bolt.Bucket
	Ledger                          Ledger        // as read; the caller changes and writes it
	Longest                         time.Duration // longest delay of any retry so far; 0: none yet
}

// Open reads the lane with this name. A lane that is missing, is not a lane, or has a newer format
// is [ErrFormat]. A lane with a damaged format version (see [DamagedVersion]), a missing bucket or
// a damaged ledger is [ErrCorrupt]. So is a file whose root is that of a lane: the copy of a file
// that was written meanwhile. So is a lane whose bucket damage has renamed.
func Open(tx *bolt.Tx, name []byte) (Lane, error) {
	l := Lane{Root: tx.Bucket(name)}
	if l.Root == nil {
		if isLane(tx.Bucket) {
			return l, fmt.Errorf("%w: a lane lies where the root is expected, as in a torn copy", ErrCorrupt)
		}
		renamed, err := Renamed(tx)
		if err == nil {
			err = renamed.Check(name)
		}
		if err != nil {
			return l, err
		}
		return l, fmt.Errorf("%w: no bucket %q", ErrFormat, name)
	}
	unlike := ErrFormat
	if isLane(l.Root.Bucket) {
		unlike = ErrCorrupt
	}
	if l.Meta = l.Root.Bucket(BucketMeta); l.Meta == nil {
		return l, fmt.Errorf("%w: bucket %q is not a lane: it has no bucket %q", unlike, name, BucketMeta)
	}
	f := l.Meta.Get(MetaFormat)
	if len(f) != 4 {
		return l, fmt.Errorf("%w: bucket %q has no format version", unlike, name)
	}
	switch v := binary.BigEndian.Uint32(f); {
	case !KnownVersion(v):
		kind := ErrFormat
		if DamagedVersion(v, l.understood()) {
			kind = ErrCorrupt
		}
		return l, fmt.Errorf("%w: bucket %q has format %d, this build knows up to %d", kind, name, v, formatVersion)
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
	// Both grow at their end only, so full pages are never split again.
	l.Ready.FillPercent, l.Dead.FillPercent = 1, 1
	if err := l.Ledger.Decode(l.Meta.Get(MetaLedger)); err != nil {
		return l, fmt.Errorf("lane %q: %w", name, err)
	}
	if b := l.Meta.Get(metaLongest); len(b) == 8 {
		l.Longest = time.Duration(binary.BigEndian.Uint64(b))
	}
	return l, nil
}

// IsLane reports whether a top-level bucket looks like a lane, damaged or not. A nil bucket does
// not.
func IsLane(b *bolt.Bucket) bool {
	if b == nil {
		return false
	}
	meta := b.Bucket(BucketMeta)
	return meta != nil && len(meta.Get(MetaFormat)) == 4
}

// Create makes an empty lane. It leaves a lane that exists as it is. When another bucket says that
// it is this lane, damage has renamed that bucket: [ErrCorrupt].
func Create(tx *bolt.Tx, name []byte) error {
	if tx.Bucket(name) != nil {
		return nil
	}
	renamed, err := Renamed(tx)
	if err == nil {
		err = renamed.Check(name)
	}
	if err != nil {
		return err
	}
	return CreateNew(tx, name)
}

// A Renames names the lanes whose bucket damage has renamed: by the name that the lane says, the
// name of its bucket.
type Renames map[string]string

// Renamed looks at every lane of the file.
func Renamed(tx *bolt.Tx) (Renames, error) {
	r := make(Renames)
	err := tx.ForEach(func(k []byte, lane *bolt.Bucket) error {
		meta := lane.Bucket(BucketMeta)
		if meta == nil {
			return nil
		}
		if was := CutSum(meta.Get(MetaName)); was != nil && !bytes.Equal(was, k) {
			r[string(was)] = string(k)
		}
		return nil
	})
	return r, err
}

// Check returns [ErrCorrupt] if the lane with this name lies under another one.
func (r Renames) Check(name []byte) error {
	if now, ok := r[string(name)]; ok {
		return fmt.Errorf("%w: lane %q lies under the name %q", ErrCorrupt, name, pages.Short([]byte(now)))
	}
	return nil
}

// CreateNew is [Create] for a caller that has checked the Renames. A caller that makes many lanes
// does that once: it takes a look at every lane.
func CreateNew(tx *bolt.Tx, name []byte) error {
	if tx.Bucket(name) != nil {
		return nil
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

// SetFormat writes the format version. It needs only Meta of the lane.
func (l *Lane) SetFormat(v uint32) error {
	return l.Meta.Put(MetaFormat, binary.BigEndian.AppendUint32(nil, v))
}

// Paused returns the kept pause: when it ends, and when the destination asked for it. Both are
// nanoseconds by the wall clock; 0 and 0: there is none.
func (l *Lane) Paused() (until, told int64) {
	if b := l.Meta.Get(metaPaused); len(b) == 16 {
		until, told = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))
	}
	return until, told
}

// SetPaused keeps a pause; see [Lane.Paused] for the units. 0 and 0 end it.
func (l *Lane) SetPaused(until, told int64) error {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(until))
	return l.Meta.Put(metaPaused, binary.BigEndian.AppendUint64(b, uint64(told)))
}

// SetLongest sets Longest and writes it.
func (l *Lane) SetLongest(d time.Duration) error {
	l.Longest = d
	return l.Meta.Put(metaLongest, binary.BigEndian.AppendUint64(nil, uint64(d)))
}

// A record of more than largeRecord bytes needs a larger reserve for a full disk than the usual
// one.
const largeRecord = 64 << 10

// KeepLargest notes that the lane holds a record of n bytes. It rounds up to a power of two, so
// that few calls write.
func (l *Lane) KeepLargest(n int) error {
	if n <= largeRecord || n <= l.Largest() {
		return nil
	}
	return l.Meta.Put(metaLargest, binary.BigEndian.AppendUint64(nil, 1<<bits.Len(uint(n))))
}

// Largest returns a number of bytes that no large record of the lane exceeds; 0: none is large.
func (l *Lane) Largest() int {
	if b := l.Meta.Get(metaLargest); len(b) == 8 {
		return int(min(binary.BigEndian.Uint64(b), MaxMaxPayload))
	}
	return 0
}
