package store

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Explain finds an item, pending or dead, and says what it waits for. seq is where it was last
// seen; 0, or if it is not there: Explain reads the whole lane page by page, as [Store.Find] does.
// sender.ErrNotFound: there is none.
//
// Head and Behind are exact for what Claim has met. For any other item Behind is an upper bound,
// and it is ready if none of its key has failed or is in flight, even if one is before it. Ahead is
// always an upper bound: by the Seqs between if it is ready and has no key, or nothing is before
// it; otherwise whatever is pending may go first. A record that cannot be read is no error of
// Explain: see Err of the result. See [sender.Explainer].
func (s *Store) Explain(ctx context.Context, id uuid.UUID, seq uint64) (sender.Wait, error) {
	w, err := s.explain(ctx, id, seq)
	if err != nil {
		return sender.Wait{}, s.wrap("explain", fmt.Errorf("item %v: %w", id, err))
	}
	return w, nil
}

func (s *Store) explain(ctx context.Context, id uuid.UUID, seq uint64) (w sender.Wait, err error) {
	if ctx == nil {
		return w, boltfile.ErrNilContext
	}
	if s.closed.Load() {
		return w, sender.ErrClosed
	}
	s.mu.Lock()
	flew, _, _ := s.order.Flight(seq)
	s.mu.Unlock()
	f := found{gone: true}
	if seq != 0 {
		err = s.view(func(t *txn) error {
			for _, p := range [...]place{{ready, format.ReadyKey(seq)}, {dead, format.ReadyKey(seq)}, placeOf(flew)} {
				if v := t.at(p); f.gone && v != nil && v.ID() == id {
					f = s.found(p.in, p.key, v)
				}
			}
			return nil
		})
	}
	if err == nil && f.gone {
		f, err = s.search(ctx, id)
	}
	if err != nil {
		return w, err
	}
	p := order.Place{Seq: f.Seq, Key: f.hash}
	s.mu.Lock()
	f.State = s.stateOf(&f, flew)
	head, behind, waits := s.order.Line(p)
	waits = waits && (f.State == sender.StateReady || f.State == sender.StateInLine)
	if waits && f.State == sender.StateReady { // Claim has not met it
		f.State = sender.StateInLine
		behind += s.unmet(f.Seq)
	}
	w = sender.Wait{Listed: f.Listed, Ahead: s.mostAhead(&f)}
	at, _, flies := s.order.Flight(head)
	s.mu.Unlock()
	if !waits {
		return w, nil
	}
	w.Behind = behind
	if !flies {
		at = order.Place{Seq: head, Key: f.hash}
	}
	w.Head, err = s.headAt(ctx, at)
	return w, err
}

// search returns the first record of an item with that ID. Where items wait it looks first.
func (s *Store) search(ctx context.Context, id uuid.UUID) (f found, err error) {
	f.gone = true
	for _, in := range [...]box{later, timed, ready, dead} {
		for after, more := format.Key(nil), true; more; {
			err := s.view(func(t *txn) (err error) {
				after, err = t.page(in, after, boltfile.MaxGroup, math.MaxInt, func(k format.Key, v format.Record) error {
					if f.gone && v.ID() == id {
						f = s.found(in, bytes.Clone(k), v)
					}
					return nil
				})
				more = after != nil && f.gone
				return cmp.Or(err, ctx.Err())
			})
			if err != nil || !f.gone {
				return f, err
			}
		}
	}
	return f, sender.ErrNotFound
}

// headAt reads the head of a line: where it was claimed, if at says so, or else in ready, where it
// has its turn, or in later, by its Seq. nil: it has gone, and the next of its line has its turn
// soon.
func (s *Store) headAt(ctx context.Context, at order.Place) (head *sender.Item, err error) {
	take := func(k format.Key, v format.Record) {
		if v != nil && head == nil {
			it, err := s.item(k, v)
			if err != nil {
				it = sender.Item{Seq: it.Seq, ID: it.ID, Due: it.Due}
			}
			head = &it
		}
	}
	if err := s.view(func(t *txn) error {
		for _, p := range [...]place{placeOf(at), {dead, format.ReadyKey(at.Seq)}} {
			if v := t.at(p); p.in != dead || v.IsSending() {
				take(p.key, v)
			}
		}
		return nil
	}); err != nil || head != nil || at.Due != 0 {
		return head, err
	}
	for after, more := format.Key(nil), true; more; {
		if err := s.view(func(t *txn) (err error) {
			after, err = t.page(later, after, boltfile.MaxGroup, math.MaxInt, func(k format.Key, v format.Record) error {
				if k.Seq() == at.Seq {
					take(k, v)
				}
				return nil
			})
			more = after != nil && head == nil
			return cmp.Or(err, ctx.Err())
		}); err != nil {
			return nil, err
		}
	}
	return head, nil
}

// mostAhead returns how many items are sent before an item at most. s.mu is held.
//
// The sources of a claim take turns. So an item of one source, behind n others of it, is sent after
// at most n and one of each other source.
func (s *Store) mostAhead(f *found) int {
	n := s.order.Counts()
	pending := int(s.ledger.Pending()) + n.Sent - n.InFlight - 1 // without the item itself
	switch {
	case f.State == sender.StateInFlight, f.State == sender.StateDead:
		return 0
	case f.State == sender.StateReady && !s.order.Stale():
		before, turn := s.order.Turn(f.Seq)
		if !turn {
			if before = s.unmet(f.Seq); before > 0 && f.Key != "" {
				break // an earlier one of its key may be among them, and then others overtake it
			}
		}
		pending = min(pending, 3*before+2)
	}
	return max(0, pending)
}

// unmet returns how many items of ready there are at most that Claim has not met, before an item.
// s.mu is held.
func (s *Store) unmet(seq uint64) int {
	between := seq - min(seq, s.order.Cursor()+1)
	return int(min(between, max(s.ledger.Ready, 1)-1))
}
