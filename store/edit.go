package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// RunNow makes items due now that wait for their next try or for their time, and returns how many.
// It wakes the sender. What it changes is on disk when it returns.
//
//   - It charges nothing, and ends no pause.
//   - A retry keeps its place in the order of its key. A scheduled item gets the place that it gets
//     when its time comes: the end.
//   - It skips items that are anything else: due already, in flight, dead, gone. So it skips an
//     item in line behind a failed one: name that one.
//
// What names an item is as for [Store.Drop]. After an error the outcome is unknown: repeat the
// call.
func (s *Store) RunNow(ctx context.Context, items ...sender.Item) (int, error) {
	if ctx == nil {
		return 0, s.wrap("run now", boltfile.ErrNilContext)
	}
	n := 0
	_, err := s.change(ctx, items, false, func(t *txn, places []place) (err error) {
		n, err = s.runNow(t, places) // again after a failed commit
		return err
	}, func() {
		s.moving = nil
		s.forgetFetched() // what was read of later has the old places
	})
	if err != nil {
		return 0, s.wrap("run now", err) // after the end of ctx, n may still be set
	}
	return n, nil
}

// runNow moves retries to this moment, and scheduled items to the end of ready.
//
// A retry that is claimed before the commit is on disk would be claimed at its old place, and its
// outcome would not find it. So Claim leaves out what is in Store.moving. The commit, or the reload
// after a failed one, clears that.
func (s *Store) runNow(t *txn, places []place) (n int, err error) {
	now := max(s.clock.nanos(s.clock.now()), 1)
	s.mu.Lock()
	var moves []place
	for _, p := range places {
		switch seq := p.key.Seq(); {
		case p.in == timed:
			moves = append(moves, p)
		case p.in == later && p.key.Due() > now && !s.order.InFlight(seq):
			moves = append(moves, p)
			s.moving = append(s.moving, seq)
		}
	}
	s.mu.Unlock()
	if len(moves) == 0 {
		return 0, refused{}
	}
	if err := t.checkSeqs(len(moves)); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.moving = nil
		return 0, refused{err}
	}
	for _, from := range moves {
		if from.in == timed {
			to, err := t.nextReady()
			if err == nil {
				err = t.makeReady(from, to)
			}
			if err != nil {
				return 0, err
			}
			continue
		}
		if err := t.rekey(from, place{later, format.LaterKey(now, from.key.Seq(), from.key.Hash())}); err != nil {
			return 0, err
		}
	}
	t.wake = true
	return len(moves), nil
}

// Edit replaces payload and header of a dead item, which Seq and ID name; a nil header keeps the
// old one. ID, kind, key, times and failures stay. It is on disk when Edit returns.
//
// If it.Payload is not nil, the item must still have the payload and the header of it, or have the
// new ones already: of two who edit what they read, the second gets an error, and none if both want
// the same. So a call whose outcome is not known can be repeated.
//
// sender.ErrChanged: the item is not dead any more, it was edited since it was read, its request is
// under way, or its record is damaged; nothing changed. Otherwise the errors are the same as for
// [Store.Append]; Edit does not wait for room, even with Options.Block.
//
// The old contents cannot be had again. Their bytes stay in free pages of the file until these are
// used again, and until then [Store.Compact], or [Store.Erase] of the item's key, clears them.
func (s *Store) Edit(ctx context.Context, it sender.Item, payload []byte, header map[string]string) error {
	if ctx == nil {
		return s.wrap("edit", boltfile.ErrNilContext)
	}
	now := sender.Item{Payload: payload, Header: header, Created: time.Unix(1, 0)} // the rest is valid already
	if err := format.Validate(&now, s.opts.MaxPayload); err != nil {
		return s.wrap("edit", err)
	}
	payload, header = bytes.Clone(payload), maps.Clone(header) // the commit may outlive the call
	was := sender.Item{Seq: it.Seq, ID: it.ID, Payload: bytes.Clone(it.Payload), Header: maps.Clone(it.Header)}
	w := s.newWrite()
	w.Items, w.Scattered = 1, true
	w.Bytes, w.Largest = len(payload)+maxBesides, len(payload)
	w.apply = func(t *txn) error { return s.edit(t, &was, payload, header) }
	return s.wrap("edit", s.do(ctx, w, 0))
}

// maxBesides is more than a record holds beside its payload, a header of 64 KiB included.
const maxBesides = 256 << 10

func (s *Store) edit(t *txn, was *sender.Item, payload []byte, header map[string]string) error {
	id := was.ID
	changed := func(why string) error {
		return refused{fmt.Errorf("item %v: %w: %s: nothing was changed", id, sender.ErrChanged, why)}
	}
	p := place{dead, format.ReadyKey(was.Seq)}
	v := t.at(p)
	switch {
	case v == nil || v.ID() != id:
		return changed("it is not dead any more")
	case s.underWay(p.key, v):
		return changed("its request is under way")
	case v.IsDamaged():
		return changed("it is a damaged record")
	}
	plain, err := s.codec.open(p.key, v)
	if errors.Is(err, ErrSealed) {
		return refused{fmt.Errorf("item %v: %w: nothing was changed", id, err)}
	}
	var it sender.Item
	if err == nil {
		it, err = plain.Item(&s.codec.kinds)
	}
	if err != nil {
		return changed("its record cannot be read: " + err.Error())
	}
	if header == nil {
		header = it.Header
	}
	holds := func(payload []byte, header map[string]string) bool {
		return bytes.Equal(it.Payload, payload) && maps.Equal(it.Header, header)
	}
	if was.Payload != nil && !holds(was.Payload, was.Header) && !holds(payload, header) {
		return changed("it was edited since it was read")
	}
	rec, err := plain.WithContents(header, payload)
	if err == nil {
		rec, err = s.codec.seal(rec)
	}
	if err != nil {
		return refused{fmt.Errorf("item %v: %w: nothing was changed", id, err)}
	}
	if more := rec.PayloadLen() - v.PayloadLen(); more > 0 {
		if err := s.admitBytes(t, more); err != nil {
			return refused{err}
		}
	}
	if err := t.KeepLargest(len(rec)); err != nil {
		return err
	}
	rec.SetSum(rec.BodySum(), p.key)
	return t.move(p, p, rec)
}
