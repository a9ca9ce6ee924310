package store

import (
	"context"
	"errors"
	"slices"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
)

// Settle records outcomes and returns when they are on disk; see [sender.Queue]. Outcomes wait up
// to Options.Gather to share a commit. They do not wait if one of them has another item waiting for
// its key, is Sending, or brings a pause. Released items that are certainly where they were claimed
// need no commit.
//
// Settle may be called several times at once. When ctx ends or an error returns, the outcome is
// unknown: repeat the call. A repetition changes nothing that is recorded already.
func (s *Store) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if ctx == nil {
		return s.wrap("settle", boltfile.ErrNilContext)
	}
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

// settleSingly records each outcome in its own commit. On a full disk the reserve may be too small
// for the pages that all of them touch together. After an error the caller repeats all; outcomes
// that were recorded are found nowhere then, and change nothing.
func (s *Store) settleSingly(ctx context.Context, outcomes []sender.Outcome) error {
	for i := range outcomes {
		if err := s.do(ctx, s.newSettling(outcomes[i:i+1]), 0); err != nil {
			return s.wrap("settle", err)
		}
	}
	return nil
}

// newSettling makes the write that records outcomes.
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

// releaseAll releases items without a commit: none of them is Sending or has moved. It reads
// whether an item of later still is there. If it was dropped, the next item of its key has its
// turn.
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

// settled updates the order with an outcome that is on disk, or needs no commit. s.mu is held.
func (s *Store) settled(o *settling) {
	stale := s.order.Stale()
	ahead := s.order.Settled(o.place(), o.result(), o.found)
	s.untilKnown = false // the item may be in later and due, or free to be claimed again
	switch {
	case ahead:
		s.forgetFetched()
	case stale, o.due != 0:
		s.changes++ // what is being read of later may be out of date
	}
}
