package store

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// A txn is one lane inside one transaction. Its methods alone put, remove and move records:
//
//   - Every item is in exactly one bucket, under exactly one key.
//   - The ledger counts what the buckets hold. put, remove and move change the counts together with
//     the bucket. flush writes the ledger at the end.
//   - The checksum of a record covers its place. Code that moves a record sets the new checksum.
//   - A txn has one owner: the goroutine that runs its transaction. It ends with the transaction.
//
// If the transaction is not committed, because of an error or a crash, none of this has happened.
type txn struct {
	format.Lane
	s      *Store
	before format.Ledger // as it is on disk

	erasing      []*erasure     // calls of Erase, which are told where records of their key move
	unsized      bool           // a record of unknown size was removed: flush counts all bytes
	fingers      [4]finger      // one cursor for each bucket
	appended     bool           // ready got an item: the sender must be woken
	firstCreated time.Time      // Created of the first item appended to ready
	removed      [dead + 1]bool // by box: a record was removed, so another may be the first
	firstReady   time.Time      // if removed[ready]: Created of the first record; zero: there is none
	firstDue     int64          // if removed[later]: due of the first record; math.MaxInt64: there is none
	retried      []age          // what was put into later
	pause        time.Time      // the pause that this transaction stores; zero: none
	cleared      bool           // it ends the pause that was stored before
	wake         bool           // more may be due, though ready got no item
}

// openTxn opens the lane inside a transaction.
func (s *Store) openTxn(tx *bolt.Tx) (*txn, error) {
	l, err := format.Open(tx, s.bucket)
	if err != nil {
		return nil, err
	}
	return &txn{Lane: l, s: s, before: l.Ledger}, nil
}

// A box is one of the buckets that hold items.
type box int

const (
	nowhere box = iota
	ready
	timed
	later
	dead
)

func (b box) String() string {
	return [...]string{"nowhere", "ready", "timed", "later", "dead"}[b]
}

// A place is where a record is, or where it goes. The zero place is nowhere.
type place struct {
	in  box
	key format.Key
}

// is reports whether p and q are the same place.
func (p place) is(q place) bool { return p.in == q.in && bytes.Equal(p.key, q.key) }

// bucket returns the bucket of a box; nil for nowhere.
func (t *txn) bucket(in box) *bolt.Bucket {
	return [...]*bolt.Bucket{nil, t.Ready, t.Timed, t.Later, t.Dead}[in]
}

// counts returns the two numbers of the ledger in which a record of this bucket is counted.
func (t *txn) counts(in box) (records, bytes *uint64) {
	l := &t.Ledger
	switch in {
	case timed:
		return &l.Timed, &l.Bytes
	case later:
		return &l.Later, &l.Bytes
	case dead:
		return &l.Dead, &l.DeadBytes
	}
	return &l.Ready, &l.Bytes
}

// A finger is a cursor that stays open to search one bucket. bolt.Bucket.Get makes a new cursor for
// each call, which costs more than the search.
type finger struct {
	bucket *bolt.Bucket
	cursor *bolt.Cursor
}

// finger returns the cursor of a bucket.
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

// at returns the record at a place, and leaves the finger of its bucket there; nil: there is none.
func (t *txn) at(p place) format.Record {
	if p.in == nowhere {
		return nil
	}
	if k, v := t.finger(t.bucket(p.in)).Seek(p.key); bytes.Equal(k, p.key) {
		return v
	}
	return nil
}

// put stores a record that has its checksum, and counts it. Nothing may be at p.
func (t *txn) put(p place, rec format.Record) error {
	records, size := t.counts(p.in)
	*records++
	*size += uint64(rec.PayloadLen())
	switch {
	case p.in == later:
		t.retried = append(t.retried, age{p.key.Due(), rec.Created()})
	case p.in == ready && t.firstCreated.IsZero():
		t.firstCreated = rec.Created()
	}
	return t.bucket(p.in).Put(p.key, rec)
}

// remove deletes the record at a place. On a damaged page the record may not be found, or may still
// be there afterwards. Both are ErrCorrupt, which fails the commit.
func (t *txn) remove(p place) error {
	v := t.at(p)
	if v == nil {
		return fmt.Errorf("%w: record %d is not found where it was", ErrCorrupt, p.key.Seq())
	}
	_, broken := v.Split()
	t.unsized = t.unsized || broken != nil
	records, size := t.counts(p.in)
	*records--
	t.removed[p.in] = true
	*size -= uint64(v.PayloadLen())
	if err := t.finger(t.bucket(p.in)).Delete(); err != nil {
		return err
	}
	if t.at(p) != nil {
		return fmt.Errorf("%w: record %d was deleted, and is still there", ErrCorrupt, p.key.Seq())
	}
	return nil
}

// move removes the record at from and puts rec at to, where nothing may be. rec has the checksum of
// its new place and must not alias the page.
func (t *txn) move(from, to place, rec format.Record) error {
	if err := t.remove(from); err != nil {
		return err
	}
	if t.at(to) != nil {
		return fmt.Errorf("%w: a record cannot move to %x, where another is", ErrCorrupt, []byte(to.key))
	}
	t.tellMoved(to, rec)
	return t.put(to, rec)
}

// rekey moves a record without other changes. Its checksum is adapted to the new place; the wrong
// checksum of a damaged record stays wrong.
func (t *txn) rekey(from, to place) error {
	rec := slices.Clone(t.at(from))
	rec.MoveSum(from.key, to.key)
	return t.move(from, to, rec)
}

// drop removes a record and counts it as dropped.
func (t *txn) drop(p place) error {
	t.Ledger.Dropped++
	return t.remove(p)
}

// checkSeqs returns an error if n items cannot get a new Seq each. A sequence that wrapped would
// overwrite the oldest items. Only damage, or the application, can bring it near its end.
func (t *txn) checkSeqs(n int) error {
	if last := t.Root.Sequence(); uint64(n) >= math.MaxUint64-last {
		return fmt.Errorf("%w: the sequence of the lane is at %d, and %d more would go beyond its end: nothing was stored", ErrCorrupt, last, n)
	}
	return nil
}

// nextReady returns a new place at the end of ready. It assigns a Seq; see checkSeqs.
func (t *txn) nextReady() (place, error) {
	seq, err := t.Root.NextSequence()
	return place{ready, format.ReadyKey(seq)}, err
}

// page calls fn for the records of a bucket that follow the key after, up to n records and about
// bytes bytes. nil stands before the first record. It returns the last key that it read: pass it as
// after to read the next page. nil: this was the last page. The result may reuse the memory of
// after.
func (t *txn) page(in box, after format.Key, n, bytes int, fn func(k format.Key, v format.Record) error) (last format.Key, err error) {
	last = after
	c := t.bucket(in).Cursor()
	k, v := seekAfter(c, after)
	for ; k != nil && n > 0 && bytes > 0; k, v = c.Next() {
		if err := format.CheckOrder(in.String(), last, k); err != nil {
			return nil, err
		}
		last = append(last[:0], k...)
		n, bytes = n-1, bytes-len(v)
		if err := fn(k, v); err != nil {
			return nil, err
		}
	}
	if k == nil {
		return nil, nil
	}
	return last, nil
}

// seekAfter moves c to the first key that follows after.
func seekAfter(c *bolt.Cursor, after format.Key) (k, v []byte) {
	if after == nil {
		return c.First()
	}
	if k, v = c.Seek(after); bytes.Equal(k, after) {
		return c.Next()
	}
	return k, v
}

// flush ends what a transaction does: it writes the ledger if that has changed. A negative count is
// ErrCorrupt, which fails the commit.
func (t *txn) flush() error {
	l := &t.Ledger
	if t.unsized || int64(l.Bytes) < 0 || int64(l.DeadBytes) < 0 {
		if err := t.countBytes(); err != nil {
			return err
		}
	}
	t.noteFirsts()
	if *l == t.before {
		return nil
	}
	for in, n := range [...]uint64{ready: l.Ready, timed: l.Timed, later: l.Later, dead: l.Dead} {
		if int64(n) < 0 {
			return fmt.Errorf("%w: the ledger would count %d records in %s", ErrCorrupt, int64(n), box(in))
		}
	}
	t.before = t.Ledger
	return t.Meta.Put(format.MetaLedger, t.Ledger.Encode())
}

// countBytes counts the bytes of all payloads in the lane again.
func (t *txn) countBytes() error {
	t.unsized = false
	t.Ledger.Bytes, t.Ledger.DeadBytes = 0, 0
	for _, in := range [...]box{ready, timed, later, dead} {
		_, size := t.counts(in)
		if err := t.bucket(in).ForEach(func(_, v []byte) error {
			*size += uint64(format.Record(v).PayloadLen())
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
