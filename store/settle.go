package store

import (
	"context"
	"errors"
	"slices"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
)

// Settle records outcomes; see [sender.Queue]. It lets them wait up to Gather for a commit that comes
// anyway, unless one of them has somebody waiting for its key, is Sending, or brings a pause. When ctx
// ends the outcome is unknown and the call may be repeated.
func (s *Store) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	if s.closed.Load() {
		return s.wrap("settle", sender.ErrClosed)
	}
	w := s.newSettling(outcomes)
	gather, durable := s.opts.Gather, false
	s.mu.Lock()
	for i := range w.outcomes {
		o := &w.outcomes[i]
		awaited, mayBeSent := s.order.MarkSettling(o.place(), o.result())
		durable = durable || o.Verdict != sender.Released || !o.PauseUntil.IsZero() || mayBeSent
		if awaited || !o.PauseUntil.IsZero() || o.Verdict == sender.Sending {
			gather = 0
		}
	}
	s.mu.Unlock()
	var err error
	if !durable && s.file.Err() == nil { // else a commit heals the file first
		err = s.releaseAll(w.outcomes)
	} else {
		err = s.do(ctx, w, gather)
	}
	if errors.Is(err, boltfile.ErrNoSpace) && len(outcomes) > 1 {
		return s.settleSingly(ctx, outcomes)
	}
	if err == nil {
		s.reuse(w)
	}
	return s.wrap("settle", err)
}

// settleSingly records outcomes one by one: on a full disk the reserve may not hold what all of them touch.
// Outcomes that were recorded do no harm when all are repeated.
func (s *Store) settleSingly(ctx context.Context, outcomes []sender.Outcome) error {
	for i := range outcomes {
		if err := s.do(ctx, s.newSettling(outcomes[i:i+1]), 0); err != nil {
			return s.wrap("settle", err)
		}
	}
	return nil
}

// newSettling makes a write of outcomes.
func (s *Store) newSettling(outcomes []sender.Outcome) *write {
	w := s.newWrite()
	w.Items = len(outcomes)
	w.outcomes = slices.Grow(w.outcomes, len(outcomes))
	for i := range outcomes {
		o := settling{Outcome: outcomes[i], hash: s.codec.hashName(outcomes[i].Item.Key)}
		if !o.Item.Due.IsZero() {
			o.due = s.clock.nanos(o.Item.Due)
		}
		w.outcomes = append(w.outcomes, o)
	}
	return w
}

// releaseAll frees items without touching the file. Of one that lay in later it must know whether it
// still does: if it was dropped, the next of its key has its turn.
func (s *Store) releaseAll(os []settling) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known := false; !known; {
		changes := s.changes
		s.mu.Unlock()
		err := s.view(func(t *txn) error {
			for i := range os {
				os[i].found = os[i].due == 0 || t.at(os[i].origin()) != nil
			}
			return nil
		})
		s.mu.Lock()
		if err != nil {
			return err
		}
		known = changes == s.changes // else one of them may have been dropped since
	}
	for i := len(os) - 1; i >= 0; i-- { // each goes to the front: the first of them last
		s.settled(&os[i])
	}
	s.publish()
	return nil
}

// settled brings the order up to date with an outcome that is durable. s.mu is held.
func (s *Store) settled(o *settling) {
	stale := s.order.Stale()
	ahead := s.order.Settled(o.place(), o.result(), o.found)
	s.untilKnown = false // it may lie in later, and be free to be claimed again
	switch {
	case ahead:
		s.forgetFetched()
	case stale, o.due != 0:
		s.changes++ // what is being read of later may be out of date
	}
}
