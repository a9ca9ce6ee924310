package store

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// entry is where a record lies, or is to lie, with the two counts of the ledger that tell of it.
type entry struct {
	bucket       *bolt.Bucket // nil: nowhere
	key          []byte
	count, bytes *uint64
}

func (e entry) is(f entry) bool { return e.bucket == f.bucket && bytes.Equal(e.key, f.key) }

func (t *txn) inDead(seq uint64) entry {
	return entry{t.Dead, format.ReadyKey(seq), &t.Ledger.Dead, &t.Ledger.DeadBytes}
}

func (t *txn) inLater(key []byte) entry {
	return entry{t.Later, key, &t.Ledger.Later, &t.Ledger.Bytes}
}

// origin is where the item of an outcome was claimed.
func (t *txn) origin(o *settling) entry {
	if o.due != 0 {
		return t.inLater(o.key())
	}
	return entry{t.Ready, o.key(), &t.Ledger.Ready, &t.Ledger.Bytes}
}

// find returns where the item of an outcome lies, and its record: where it was claimed, or among the
// dead if the same claim has recorded it as Sending. nil: in neither place.
func (o *settling) find(s *Store, t *txn) (entry, []byte) {
	e := t.origin(o)
	if v := t.get(e.bucket, e.key); v != nil {
		return e, v
	}
	e = t.inDead(o.Item.Seq)
	if v := t.get(e.bucket, e.key); format.Record(v).IsSending() && s.holds(o) {
		return e, v
	}
	return entry{}, nil
}

// apply makes the transition of one outcome. An item that find does not find was dropped, or this is a
// repetition: nothing changes and nothing is counted.
func (o *settling) apply(s *Store, t *txn) error {
	if !o.PauseUntil.IsZero() {
		if o.PauseUntil.After(s.Paused()) && o.PauseUntil.After(t.pause) {
			t.pause = o.PauseUntil
			if err := t.SetPaused(s.file.steady(o.PauseUntil), s.file.steady(s.file.now())); err != nil {
				return err
			}
		}
	}
	from, v := o.find(s, t)
	if o.found = v != nil; v == nil {
		if o.Verdict == sender.Retry {
			o.found = t.Later.Get(format.LaterKey(t.retryAt(s.file, o), o.Item.Seq, o.hash)) != nil
		}
		return nil
	}
	var to entry
	switch o.Verdict {
	case sender.Delivered:
		t.Ledger.Delivered++
	case sender.Expired:
		t.Ledger.Expired++
	case sender.Retry:
		to = t.inLater(format.LaterKey(t.retryAt(s.file, o), o.Item.Seq, o.hash))
	case sender.Released:
		to = t.origin(o)
	case sender.Dead:
		to = t.inDead(o.Item.Seq)
	case sender.Sending:
		to = t.inDead(o.Item.Seq)
		if o.found = s.holds(o); !o.found {
			return nil
		}
	}
	if to.is(from) && (o.Verdict == sender.Released || o.Verdict == sender.Sending) {
		return nil // it lies there already
	}
	var rec []byte
	if to.bucket != nil {
		plain, err := s.vault.open(from.key, v)
		if errors.Is(err, ErrSealed) {
			return fmt.Errorf("item %v: %w", o.Item.ID, err)
		}
		if err != nil { // it was intact when it was claimed
			if o.found = false; o.Verdict != sender.Sending {
				o.Verdict = sender.Dead
			}
			return s.bury(t, from)
		}
		if rec, err = o.rewrite(plain, s.file.now()); err != nil {
			return err
		}
		if rec, err = s.vault.seal(rec); err != nil {
			return err
		}
	}
	return o.move(s, t, from, to, v, rec)
}

// rewrite returns the plain record of an item as the outcome leaves it.
func (o *settling) rewrite(v []byte, now time.Time) (rec []byte, err error) {
	it := &o.Item
	if o.Verdict == sender.Sending {
		return format.Record(v).MarkSending(it.FailedAt, it.LastErr)
	}
	if format.Record(v).IsSending() {
		if v, err = format.Record(v).UnmarkSending(); err != nil || o.Verdict == sender.Released {
			return v, err
		}
	}
	at := it.FailedAt
	if was := format.Record(v).Failures(); it.Failures <= was { // put off, which is no failure
		at = time.Time{}
		if was == 0 && it.LastErr != "" {
			at = now // but the only reason there is
		}
	}
	return format.Record(v).Amend(it.Attempts, it.Failures, at, it.LastErr)
}

// move puts rec where it is to lie, and takes the old record away.
func (o *settling) move(s *Store, t *txn, from, to entry, old, rec []byte) error {
	_, broken := format.Record(old).Split()
	*from.count--
	*from.bytes -= uint64(format.Record(old).PayloadLen())
	if err := t.remove(from.bucket, from.key); err != nil {
		return err
	}
	if to.bucket == nil {
		t.unsized = t.unsized || broken != nil
		return nil
	}
	*to.count++
	*to.bytes += uint64(format.Record(rec).PayloadLen())
	s.tellMoved(t, o.hash, to.bucket, to.key)
	if o.Verdict == sender.Retry {
		// The longest delay tells a clock that was wrong.
		if d := time.Duration(t.retryAt(s.file, o) - s.file.steady(s.file.now())); d > t.Longest {
			if err := t.SetLongest(d); err != nil {
				return err
			}
		}
	}
	return add(to.bucket, to.key, rec)
}

// retryAt is the due time of a retry as a place in later, where 0 is none.
func (t *txn) retryAt(f *file, o *settling) int64 { return max(f.steady(o.Due), 1) }
