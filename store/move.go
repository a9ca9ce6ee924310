package store

import (
	"bytes"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// entry is where a record lies, or is to lie, with the two counts of the ledger that tell of it.
type entry struct {
	bucket       *bolt.Bucket // nil: nowhere
	key          []byte
	count, bytes *uint64
}

func (e entry) is(f entry) bool { return e.bucket == f.bucket && bytes.Equal(e.key, f.key) }

func (t *txn) inDead(seq uint64) entry {
	return entry{t.dead, readyKey(seq), &t.ledger.Dead, &t.ledger.DeadBytes}
}

func (t *txn) inLater(key []byte) entry {
	return entry{t.later, key, &t.ledger.Later, &t.ledger.Bytes}
}

// origin is where the item of an outcome was claimed.
func (t *txn) origin(o *settling) entry {
	if o.due != 0 {
		return t.inLater(o.key())
	}
	return entry{t.ready, o.key(), &t.ledger.Ready, &t.ledger.Bytes}
}

// find returns where the item of an outcome lies, and its record: where it was claimed, or among the
// dead if the same claim has recorded it as Sending. nil: in neither place.
func (o *settling) find(s *Store, t *txn) (entry, []byte) {
	e := t.origin(o)
	if v := e.bucket.Get(e.key); v != nil {
		return e, v
	}
	e = t.inDead(o.Item.Seq)
	if v := e.bucket.Get(e.key); isSending(v) && s.holds(o) {
		return e, v
	}
	return entry{}, nil
}

// apply makes the transition of one outcome. An item that find does not find was dropped, or this is a
// repetition: nothing changes and nothing is counted.
func (o *settling) apply(s *Store, t *txn) error {
	if !o.Pause.IsZero() {
		if o.Pause.After(s.Paused()) && o.Pause.After(t.pause) {
			t.pause = o.Pause
			if err := t.setPaused(s.file.steady(o.Pause), s.file.steady(s.file.now())); err != nil {
				return err
			}
		}
	}
	from, v := o.find(s, t)
	if o.found = v != nil; v == nil {
		if o.Verdict == sender.Retry {
			o.found = t.later.Get(laterKey(t.retryAt(s.file, o), o.Item.Seq, o.hash)) != nil
		}
		return nil
	}
	var to entry
	switch o.Verdict {
	case sender.Delivered:
		t.ledger.Delivered++
	case sender.Expired:
		t.ledger.Expired++
	case sender.Retry:
		to = t.inLater(laterKey(t.retryAt(s.file, o), o.Item.Seq, o.hash))
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
	size := uint64(len(o.Item.Payload))
	if p, err := split(v); err == nil {
		size = uint64(len(p.payload)) // as it was counted, whatever became of the item since
	}
	var rec []byte
	if to.bucket != nil {
		if !intact(from.key, v) { // it was when it was claimed
			if o.found = false; o.Verdict != sender.Sending {
				o.Verdict = sender.Dead
			}
			return t.bury(from, s.file.now())
		}
		var err error
		if rec, err = o.rewrite(v, s.file.now()); err != nil {
			return err
		}
	}
	return o.move(s, t, from, to, rec, size)
}

// rewrite returns the record of an item as the outcome leaves it.
func (o *settling) rewrite(v []byte, now time.Time) (rec []byte, err error) {
	it := &o.Item
	if o.Verdict == sender.Sending {
		return announce(v, it.Failed, it.LastErr)
	}
	if isSending(v) {
		if v, err = takeBack(v); err != nil || o.Verdict == sender.Released {
			return v, err
		}
	}
	at := it.Failed
	if was := recordFailures(v); it.Failures <= was { // put off, which is no failure
		at = time.Time{}
		if was == 0 && it.LastErr != "" {
			at = now // but the only reason there is
		}
	}
	return amend(v, it.Attempts, it.Failures, at, it.LastErr)
}

// move puts rec where it is to lie, and takes the old record away.
func (o *settling) move(s *Store, t *txn, from, to entry, rec []byte, size uint64) error {
	*from.count--
	*from.bytes -= size
	if !to.is(from) {
		if err := from.bucket.Delete(from.key); err != nil {
			return err
		}
	}
	if to.bucket == nil {
		return nil
	}
	*to.count++
	*to.bytes += size
	if o.Verdict == sender.Retry {
		// The longest delay tells a clock that was wrong.
		if d := time.Duration(t.retryAt(s.file, o) - s.file.steady(s.file.now())); d > t.longest {
			if err := t.setLongest(d); err != nil {
				return err
			}
		}
	}
	return add(to.bucket, to.key, rec)
}

// retryAt is the due time of a retry as a place in later, where 0 is none.
func (t *txn) retryAt(f *file, o *settling) int64 { return max(f.steady(o.Due), 1) }

// bury moves a record that does not decode to the dead, as it is and with its reason.
func (t *txn) bury(from entry, now time.Time) error {
	k := from.key
	v := bytes.Clone(from.bucket.Get(k))
	_, why := decode(k, v)
	if why == nil {
		why = errors.New("it could not be read when it was claimed")
	}
	if err := from.bucket.Delete(k); err != nil {
		return err
	}
	*from.count--
	t.ledger.Dead++
	t.ledger.DeadBytes += uint64(len(v))
	if err := add(t.dead, readyKey(keySeq(k)), damaged(v, now, why)); err != nil {
		return err
	}
	if _, err := split(v); err == nil {
		*from.bytes -= uint64(payloadLen(v))
		return nil
	}
	return t.recount()
}

// recount counts the bytes of all payloads again, after a record has gone whose own size was lost.
func (t *txn) recount() error {
	t.ledger.Bytes, t.ledger.DeadBytes = 0, 0
	for _, c := range [...]struct {
		b  *bolt.Bucket
		to *uint64
	}{{t.ready, &t.ledger.Bytes}, {t.timed, &t.ledger.Bytes}, {t.later, &t.ledger.Bytes}, {t.dead, &t.ledger.DeadBytes}} {
		if err := c.b.ForEach(func(_, v []byte) error {
			*c.to += uint64(payloadLen(v))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
