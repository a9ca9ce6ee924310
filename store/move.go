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

// A settling is an outcome on its way into a commit.
//
//   - Settle makes it. From Store.do until the answer the commit goroutine owns it.
//   - apply may run again after a failed commit. It must give the same result then.
//   - The same outcome may come again after a crash or an error. Then find finds the item nowhere,
//     except for a Retry, and nothing changes.
type settling struct {
	sender.Outcome
	due   int64    // where the item was claimed: its time in later; 0: in ready
	hash  uint64   // of the item's key; 0: no key
	room  [24]byte // memory for the bucket key that origin returns
	found bool     // the item was there, or is where the outcome puts it; set by apply
}

// place is where the item was claimed, for the order.
func (o *settling) place() order.Place {
	return order.Place{Seq: o.Item.Seq, Due: o.due, Key: o.hash}
}

// result is the verdict, for the order.
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

// origin is where the item was claimed, in the file.
func (o *settling) origin() place {
	if o.due == 0 {
		return place{ready, format.AppendReadyKey(o.room[:0], o.Item.Seq)}
	}
	return place{later, format.AppendLaterKey(o.room[:0], o.due, o.Item.Seq, o.hash)}
}

// retryPlace is where a retry puts the item. Its time is at least 1, because 0 stands for none.
func (o *settling) retryPlace(s *Store) place {
	return place{later, format.LaterKey(max(s.clock.nanos(o.Due), 1), o.Item.Seq, o.hash)}
}

// find returns the place and the record of the item: where it was claimed, or in dead if the same
// claim has recorded it as Sending. nil: in neither place.
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

// apply makes the transition of one outcome: one move or one removal. If find does not find the
// item, it was dropped or the outcome is a repetition: nothing changes, and nothing is counted. The
// pause is kept in any case.
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
		return nil // it is there already
	}
	plain, err := s.codec.open(from.key, v)
	if errors.Is(err, ErrSealed) {
		return fmt.Errorf("item %v: %w", o.Item.ID, err)
	}
	if err != nil { // the record was damaged after the claim
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

// keepPause stores the pause that an outcome brings, unless a pause that ends later is stored.
func (o *settling) keepPause(s *Store, t *txn) error {
	if o.PauseUntil.IsZero() || !t.cleared && !o.PauseUntil.After(s.Paused()) || !o.PauseUntil.After(t.pause) {
		return nil
	}
	t.pause = o.PauseUntil
	return t.SetPaused(s.clock.nanos(o.PauseUntil), s.clock.nanos(s.clock.now()))
}

// keepLongest stores the delay of a retry if it is the longest one so far; see clampRetries.
func (o *settling) keepLongest(s *Store, t *txn) error {
	d := time.Duration(max(s.clock.nanos(o.Due), 1) - s.clock.nanos(s.clock.now()))
	if d <= t.Longest {
		return nil
	}
	return t.SetLongest(d)
}

// rewrite returns the plain record of an item after its outcome.
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
	if was := v.Failures(); it.Failures <= was { // put off: not a failure
		at = time.Time{}
		if was == 0 && it.LastErr != "" {
			at = now // the record has no other reason
		}
	}
	return v.Amend(it.Attempts, it.Failures, at, it.LastErr)
}

// releaseDue moves scheduled items whose time has come to the end of ready, under a new Seq: this
// moment is their place in the order. It moves up to maxMoves of them in one commit. The wall clock
// decides. After a crash the next claim does it again.
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
			if err != nil || from.key.Due() > format.Nanos(now) {
				return nil
			}
			if t.at(from) == nil {
				return format.Unreachable("timed", k)
			}
			if err := t.checkSeqs(1); err != nil && n == 0 {
				return refused{err}
			} else if err != nil {
				return nil
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

// releaseAllDue does what releaseDue does, in a goroutine of its own, until nothing is due. Then a
// large number of items that become due at once is moved while others are sent. One goroutine runs
// at a time. It ends after its commit when the lane is closed, and Close waits for it. An error
// ends it: the next Claim meets the cause.
func (s *Store) releaseAllDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.releasing || s.closed.Load() {
		return
	}
	s.releasing = true
	s.releases.Go(func() {
		for due := true; due && !s.closed.Load(); {
			now := s.clock.now()
			if err := s.view(func(t *txn) error {
				k, _ := t.Timed.Cursor().First()
				due = k != nil && format.Key(k).Due() <= now.UnixNano()
				return nil
			}); err != nil || due && s.releaseDue(context.Background(), now) != nil {
				break
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.releasing = false
	})
}

// makeReady moves a scheduled record to its place in ready. In a sealed lane it seals a plain
// record: the new Seq is above codec.since, so a plain record under it would look damaged.
func (t *txn) makeReady(from, to place) error {
	v, c := t.at(from), &t.s.codec
	if c.sealer == nil || v.IsSealed() {
		return t.rekey(from, to)
	}
	plain, err := c.open(from.key, v)
	if err != nil {
		return t.rekey(from, to) // Claim meets the record and reports the error
	}
	rec, err := c.seal(plain)
	if err != nil {
		return err
	}
	rec.SetSum(rec.BodySum(), to.key)
	return t.move(from, to, rec)
}
