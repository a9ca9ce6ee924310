package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// One transaction reads at most this much to list items.
const (
	pageItems = 128
	pageBytes = 4 << 20
)

// Pending lists the pending items: ready, failed, scheduled, and then the items in flight that are
// stored in dead because they are sent at most once. It reads page by page and holds no transaction
// while the caller works. An item that moves during this time may be listed twice or not at all. A
// record that does not decode yields an error and an item that has only Seq and ID, with which it
// can be dropped. The listing goes on with the next one.
func (s *Store) Pending() iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) {
		for _, in := range [...]box{ready, later, timed} {
			if !s.list(in, false, yield) {
				return
			}
		}
		if s.sentCount() > 0 {
			s.list(dead, true, yield)
		}
	}
}

// Dead lists the dead items in the order of Seq, as Pending does. LastErr is the reason and
// FailedAt the time of death. An item that is dead because its record was damaged has that record
// as payload.
func (s *Store) Dead() iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) { s.list(dead, false, yield) }
}

// list yields the items of a bucket. In dead, underWay selects the items whose request runs;
// otherwise they are left out. It reports whether the caller wants more.
func (s *Store) list(in box, underWay bool, yield func(sender.Item, error) bool) bool {
	type listed struct {
		it      sender.Item
		err     error
		sending bool // its request may be running
	}
	page := make([]listed, 0, pageItems)
	for after, more := format.Key(nil), true; more; page = page[:0] {
		if s.closed.Load() {
			return yield(sender.Item{}, s.wrap("list", sender.ErrClosed))
		}
		before := s.flightsSent()
		err := s.view(func(t *txn) (err error) {
			after, err = t.page(in, after, pageItems, pageBytes, func(k format.Key, v format.Record) error {
				it, err := s.item(k, v)
				page = append(page, listed{it, err, v.IsSending()})
				return nil
			})
			more = after != nil
			return err
		})
		if err != nil {
			return yield(sender.Item{}, s.wrap("list", err))
		}
		s.mu.Lock() // under way: before the page was read, or after it
		page = slices.DeleteFunc(page, func(l listed) bool {
			is := l.sending && (before[l.it.Seq] || s.order.InFlight(l.it.Seq))
			return is != underWay
		})
		s.mu.Unlock()
		for _, l := range page {
			if !yield(l.it, l.err) {
				return false
			}
		}
	}
	return true
}

// flightsSent returns the Seqs of the items in flight that are in dead; nil: there are none.
func (s *Store) flightsSent() map[uint64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.order.Counts().Sent == 0 {
		return nil
	}
	seqs := make(map[uint64]bool)
	for seq, sent := range s.order.Flights() {
		if sent {
			seqs[seq] = true
		}
	}
	return seqs
}

// item decodes a record, with its Seq and Due.
func (s *Store) item(k format.Key, v format.Record) (sender.Item, error) {
	it, err := s.codec.decode(k, v)
	it.Seq = k.Seq()
	if err != nil {
		it.ID = v.ID() // with it the item can be dropped
	}
	switch len(k) {
	case 16: // NotBefore, by the wall clock
		it.Due = time.Unix(0, k.Due())
	case 24:
		it.Due = s.clock.time(k.Due())
	}
	switch {
	case errors.Is(err, ErrSealed):
		return it, fmt.Errorf("record %d: %w", it.Seq, err)
	case err != nil:
		return it, fmt.Errorf("%w: record %d: %w", ErrCorrupt, it.Seq, err)
	}
	return it, nil
}

// Find returns the first item with that ID, pending or dead. sender.ErrNotFound: there is none. It
// reads the whole lane page by page, which takes seconds for a million items on a cold file.
func (s *Store) Find(ctx context.Context, id uuid.UUID) (sender.Item, error) {
	if ctx == nil {
		return sender.Item{}, s.wrap("find", boltfile.ErrNilContext)
	}
	found := errors.New("found")
	for _, in := range [...]box{ready, later, timed, dead} {
		for after, more := format.Key(nil), true; more; {
			var it sender.Item
			err := s.view(func(t *txn) (err error) {
				after, err = t.page(in, after, boltfile.MaxGroup, math.MaxInt, func(k format.Key, v format.Record) (err error) {
					if v.ID() != id {
						return nil
					}
					if it, err = s.item(k, v); err != nil {
						return err
					}
					return found
				})
				more = after != nil
				return cmp.Or(err, ctx.Err())
			})
			if err == found {
				return it, nil
			}
			if err != nil {
				return sender.Item{}, s.wrap("find", fmt.Errorf("item %v: %w", id, err))
			}
		}
	}
	return sender.Item{}, s.wrap("find", fmt.Errorf("item %v: %w", id, sender.ErrNotFound))
}

// Revive moves dead items to the end of ready, in the order in which they lie in the lane, with the
// same ID, no attempts and no failures. It returns how many: items that are not dead, or are in
// flight, are left out. If one record was damaged, or the lane is at MaxPending (sender.ErrFull,
// also with Options.Block), nothing changes. What names an item is as for [Store.Drop].
func (s *Store) Revive(ctx context.Context, items ...sender.Item) (int, error) {
	n, err := s.change(ctx, items, true, s.revive, nil)
	return n, s.wrap("revive", err)
}

func (s *Store) revive(t *txn, places []place) error {
	for _, p := range places {
		v := t.at(p)
		_, err := s.codec.decode(p.key, v)
		if errors.Is(err, ErrSealed) {
			return refused{fmt.Errorf("item %v: %w: nothing was changed", v.ID(), err)}
		}
		if err != nil || v.IsDamaged() {
			return refused{fmt.Errorf("%w: item %v is dead because its record did not decode: nothing was changed", ErrCorrupt, v.ID())}
		}
	}
	if err := s.admit(t, len(places), 0); err != nil {
		return refused{err}
	}
	for _, from := range places {
		rec, err := s.refresh(from.key, t.at(from))
		if err != nil {
			return err
		}
		to, err := t.nextReady()
		if err != nil {
			return err
		}
		rec.SetSum(rec.BodySum(), to.key)
		if err := t.move(from, to, rec); err != nil {
			return err
		}
		t.appended = true
	}
	return nil
}

// refresh returns a copy of record v under bucket key k without its failures. Call SetSum before
// use.
func (s *Store) refresh(k format.Key, v format.Record) (format.Record, error) {
	plain, err := s.codec.open(k, v)
	if err != nil {
		return nil, err
	}
	rec, err := plain.Fresh()
	if err != nil {
		return nil, err
	}
	return s.codec.seal(rec)
}

// Drop removes items, pending or dead, and returns how many. They count as dropped and are not sent
// again. The request of an item in flight may still arrive. Items that are gone already are left
// out.
//
// ID and Seq together name an item, as it was listed; it is found also where it has moved since. A
// Seq that another item has is passed over. With Seq 0 the ID alone names the first item that has
// it. An item that is not where it was listed costs a pass over the lane, one for all of them,
// before the commit.
func (s *Store) Drop(ctx context.Context, items ...sender.Item) (int, error) {
	var d dropping
	n, err := s.change(ctx, items, false, func(t *txn, places []place) error {
		d = nil // a commit may be tried again
		for _, p := range places {
			if err := d.drop(t, p); err != nil {
				return err
			}
		}
		return nil
	}, func() { d.done(s) })
	return n, s.wrap("drop", err)
}

// dropping lists the items that a commit dropped from later or dead, to update the order
// afterwards.
type dropping []order.Place // where they were

// drop drops the record at a place.
func (d *dropping) drop(t *txn, p place) error {
	if p.in == later || p.in == dead {
		*d = append(*d, p.claimed())
	}
	return t.drop(p)
}

// done updates the order once the commit is on disk. s.mu is held.
func (d dropping) done(s *Store) {
	s.forgetFetched()
	for _, p := range d {
		s.order.Dropped(p)
	}
}

// reap drops up to maxMoves dead items that are older than KeepDead, as part of a commit. dead is
// sorted by Seq and not by time of death, so reap reads all of it, and therefore seldom runs. Only
// the commit goroutine calls it.
func (s *Store) reap(t *txn) error {
	keep, now := s.opts.KeepDead, s.clock.now()
	if keep <= 0 || t.Ledger.Dead == 0 || now.Before(s.reapAt) {
		return nil
	}
	wall := time.Unix(0, format.Nanos(now)) // as times of death are stored
	var old []place
	c := t.Dead.Cursor()
	for k, v := c.First(); k != nil && len(old) < maxMoves; k, v = c.Next() {
		if at := format.Record(v).FailedAt(); !at.IsZero() && wall.Sub(at) > keep && !s.underWay(k, v) {
			old = append(old, place{dead, bytes.Clone(k)})
		}
	}
	for _, p := range old {
		if err := t.drop(p); err != nil {
			return err
		}
	}
	if len(old) < maxMoves {
		s.reapAt = now.Add(max(keep/16, time.Minute))
	}
	return nil
}
