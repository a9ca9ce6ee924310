package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// settling is an outcome on its way into a commit.
type settling struct {
	sender.Outcome
	due   int64 // the item's place in later; 0: in ready
	hash  uint64
	room  [24]byte // for the key of its place
	found bool     // it lay there, or among the dead as Sending, or where the outcome puts it; set by apply
}

// place is where the item was claimed, as the order knows it.
func (o *settling) place() order.Place {
	return order.Place{Seq: o.Item.Seq, Due: o.due, Key: o.hash}
}

// result is what the outcome means for the order.
func (o *settling) result() order.Result {
	switch o.Verdict {
	case sender.Released:
		return order.Released
	case sender.Retry:
		return order.Retry
	case sender.Sending:
		return order.Sending
	}
	return order.Gone
}

// origin is where the item of an outcome was claimed.
func (o *settling) origin() place {
	if o.due == 0 {
		return place{ready, format.AppendReadyKey(o.room[:0], o.Item.Seq)}
	}
	return place{later, format.AppendLaterKey(o.room[:0], o.due, o.Item.Seq, o.hash)}
}

// retryPlace is where a retry puts the item. A time of 0 would stand for none.
func (o *settling) retryPlace(s *Store) place {
	return place{later, format.LaterKey(max(s.clock.nanos(o.Due), 1), o.Item.Seq, o.hash)}
}

// find returns where the item of an outcome lies, and its record: where it was claimed, or among the
// dead if the same claim has recorded it as Sending. nil: in neither place.
func (o *settling) find(t *txn) (place, format.Record) {
	p := o.origin()
	if v := t.at(p); v != nil {
		return p, v
	}
	p = place{dead, format.ReadyKey(o.Item.Seq)}
	if v := t.at(p); v.IsSending() && t.s.holds(o) {
		return p, v
	}
	return place{}, nil
}

// apply makes the transition of one outcome. An item that find does not find was dropped, or this is a
// repetition: nothing changes and nothing is counted.
func (o *settling) apply(s *Store, t *txn) error {
	if err := o.keepPause(s, t); err != nil {
		return err
	}
	from, v := o.find(t)
	if o.found = v != nil; v == nil {
		o.found = o.Verdict == sender.Retry && t.at(o.retryPlace(s)) != nil
		return nil
	}
	var to place
	switch o.Verdict {
	case sender.Delivered:
		t.Ledger.Delivered++
		return t.remove(from)
	case sender.Expired:
		t.Ledger.Expired++
		return t.remove(from)
	case sender.Retry:
		to = o.retryPlace(s)
	case sender.Released:
		to = o.origin()
	case sender.Dead:
		to = place{dead, format.ReadyKey(o.Item.Seq)}
	case sender.Sending:
		to = place{dead, format.ReadyKey(o.Item.Seq)}
		if o.found = s.holds(o); !o.found {
			return nil
		}
	}
	if to.is(from) && (o.Verdict == sender.Released || o.Verdict == sender.Sending) {
		return nil // it lies there already
	}
	plain, err := s.codec.open(from.key, v)
	if errors.Is(err, ErrSealed) {
		return fmt.Errorf("item %v: %w", o.Item.ID, err)
	}
	if err != nil { // it was intact when it was claimed
		if o.found = false; o.Verdict != sender.Sending {
			o.Verdict = sender.Dead
		}
		return t.quarantine(from)
	}
	rec, err := o.rewrite(plain, s.clock.now())
	if err == nil {
		rec, err = s.codec.seal(rec)
	}
	if err == nil && o.Verdict == sender.Retry {
		err = o.keepLongest(s, t)
	}
	if err != nil {
		return err
	}
	rec.SetSum(rec.BodySum(), to.key)
	return t.move(from, to, rec)
}

// keepPause keeps the pause that an outcome brings, unless a longer one is kept.
func (o *settling) keepPause(s *Store, t *txn) error {
	if o.PauseUntil.IsZero() || !o.PauseUntil.After(s.Paused()) || !o.PauseUntil.After(t.pause) {
		return nil
	}
	t.pause = o.PauseUntil
	return t.SetPaused(s.clock.nanos(o.PauseUntil), s.clock.nanos(s.clock.now()))
}

// keepLongest keeps the longest delay of a retry: it tells a clock that was wrong.
func (o *settling) keepLongest(s *Store, t *txn) error {
	d := time.Duration(max(s.clock.nanos(o.Due), 1) - s.clock.nanos(s.clock.now()))
	if d <= t.Longest {
		return nil
	}
	return t.SetLongest(d)
}

// rewrite returns the plain record of an item as the outcome leaves it.
func (o *settling) rewrite(v format.Record, now time.Time) (rec format.Record, err error) {
	it := &o.Item
	if o.Verdict == sender.Sending {
		return v.MarkSending(it.FailedAt, it.LastErr)
	}
	if v.IsSending() {
		if v, err = v.UnmarkSending(); err != nil || o.Verdict == sender.Released {
			return v, err
		}
	}
	at := it.FailedAt
	if was := v.Failures(); it.Failures <= was { // put off, which is no failure
		at = time.Time{}
		if was == 0 && it.LastErr != "" {
			at = now // but the only reason there is
		}
	}
	return v.Amend(it.Attempts, it.Failures, at, it.LastErr)
}

// releaseDue moves scheduled items whose time has come to the end of ready, under a new Seq: their place
// in the order is that moment. The wall clock decides.
func (s *Store) releaseDue(ctx context.Context, now time.Time) error {
	return s.update(ctx, func(t *txn) error {
		for n := range maxMoves {
			k, v := t.Timed.Cursor().First()
			if k == nil {
				return nil
			}
			from := place{timed, slices.Clone(k)}
			err := t.CheckEntry("timed", k, v, 16)
			if err != nil && n == 0 {
				return refused{err}
			}
			if err != nil || from.key.Due() > now.UnixNano() {
				return nil
			}
			if t.at(from) == nil {
				return format.Unreachable("timed", k)
			}
			to, err := t.nextReady()
			if err != nil {
				return err
			}
			if err := t.makeReady(from, to); err != nil {
				return err
			}
			t.appended = true
		}
		return nil
	})
}

// makeReady moves a scheduled record to its place in ready. In a sealed lane it seals a plain one: only what
// was put before the lane was sealed may be plain, and the new Seq says otherwise.
func (t *txn) makeReady(from, to place) error {
	v, c := t.at(from), &t.s.codec
	if c.sealer == nil || v.IsSealed() {
		return t.rekey(from, to)
	}
	plain, err := c.open(from.key, v)
	if err != nil {
		return t.rekey(from, to) // Claim meets it, and says what is wrong
	}
	rec, err := c.seal(plain)
	if err != nil {
		return err
	}
	rec.SetSum(rec.BodySum(), to.key)
	return t.move(from, to, rec)
}
