package store

import (
	"bytes"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// A txn is one lane inside one transaction. The ledger is written by flush when it has changed.
type txn struct {
	format.Lane
	before format.Ledger // as it lies on disk

	unsized      bool      // a record has gone whose own size was lost: flush counts all bytes again
	fingers      [4]finger // so that each bucket needs one cursor
	appended     bool      // something may be due that was not
	firstCreated time.Time // Created of the first item appended to ready
	pause        time.Time // a pause this transaction keeps
}

// openTxn opens a lane inside a transaction.
func openTxn(tx *bolt.Tx, name []byte) (*txn, error) {
	l, err := format.Open(tx, name)
	if err != nil {
		return nil, err
	}
	return &txn{Lane: l, before: l.Ledger}, nil
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
	l := &t.Ledger
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
	t.before = t.Ledger
	return t.Meta.Put(format.MetaLedger, t.Ledger.Encode())
}

// add stamps a record with its key and puts it there, where nothing may lie.
func add(b *bolt.Bucket, key, rec []byte) error {
	if b.Get(key) != nil {
		return fmt.Errorf("%w: a record is to lie under %x, and another does", ErrCorrupt, key)
	}
	format.Record(rec).SetSum(format.Record(rec).BodySum(), key)
	return b.Put(key, rec)
}

// remove deletes key k from b, once and for all.
func (t *txn) remove(b *bolt.Bucket, k []byte) error {
	if t.get(b, k) == nil {
		return fmt.Errorf("%w: record %d is not found where it was", ErrCorrupt, format.Key(k).Seq())
	}
	if err := t.finger(b).Delete(); err != nil {
		return err
	}
	if t.get(b, k) != nil {
		return fmt.Errorf("%w: record %d was deleted, and is still there", ErrCorrupt, format.Key(k).Seq())
	}
	return nil
}
