package store

import (
	"context"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Pause makes Claim hand out nothing until p.Until, by the wall clock; zero: until [Store.Resume].
// It replaces an earlier pause of the operator, and sets Since. It is on disk when Pause returns,
// and holds after a crash. What is in flight may be settled, and everything else works. By has at
// most 64 bytes and Reason 200, otherwise it is sender.ErrTooLarge. An Until that is not after now
// is an error. Then nothing is recorded. After any other error the outcome is unknown: repeat the
// call.
//
// By and Reason are not sealed, even when the lane has a Sealer. Builds that do not know this pause
// ignore it, and send. See [sender.Operator].
func (s *Store) Pause(ctx context.Context, p sender.Pause) error {
	now := s.clock.now()
	err := format.CheckPause(p, now)
	if err == nil {
		p.Since = now
		err = s.keepOperator(ctx, p)
	}
	return s.wrap("pause", err)
}

// Resume ends the pause of the operator, and wakes the sender. It is on disk when Resume returns.
// Without a pause it does nothing. After an error the outcome is unknown: repeat the call. See
// [sender.Operator].
func (s *Store) Resume(ctx context.Context) error {
	return s.wrap("resume", s.keepOperator(ctx, sender.Pause{}))
}

// keepOperator stores a pause of the operator, or its end. Memory changes with the commit: no Claim
// that begins afterwards ignores the pause, and none hands out more.
func (s *Store) keepOperator(ctx context.Context, p sender.Pause) error {
	if ctx == nil {
		return boltfile.ErrNilContext
	}
	kept, err := format.DecodePause(format.EncodePause(p)) // with the times that the file can hold
	if err != nil {
		return err
	}
	w := s.newWrite()
	w.apply = func(t *txn) error {
		was, err := t.Operator()
		if err == nil && was.Since.IsZero() && kept.Since.IsZero() {
			return refused{} // there is nothing to end
		}
		t.wake = true // a sender that sleeps until the end of a longer pause has to look again
		return t.SetOperator(kept)
	}
	w.after = func() { s.operator.Store(&kept) }
	return s.do(ctx, w, 0)
}

// OperatorPause returns the latest pause of the operator; a zero Since: there is none. It may be
// over: see [sender.Pause.On]. It never waits: the sender asks before each request.
func (s *Store) OperatorPause() sender.Pause {
	if p := s.operator.Load(); p != nil {
		return *p
	}
	return sender.Pause{}
}

// ClearThrottle ends the pause that the destination asked for ([Store.Paused]) before its time, and
// wakes the sender. This is on disk when it returns. Without such a pause it does nothing. It does
// not touch the pause of the operator. After an error the outcome is unknown: repeat the call.
func (s *Store) ClearThrottle(ctx context.Context) error {
	if ctx == nil {
		return s.wrap("clear throttle", boltfile.ErrNilContext)
	}
	return s.wrap("clear throttle", s.update(ctx, func(t *txn) error {
		if _, told := t.Paused(); told == 0 {
			return refused{}
		}
		t.cleared, t.wake = true, true
		return t.SetPaused(0, 0)
	}))
}

// paused reports whether a pause is in force at now, and when it ends; zero: when its operator says
// so.
func (s *Store) paused(now time.Time) (end time.Time, is bool) {
	if until := s.Paused(); until.After(now) {
		end, is = until, true
	}
	p := s.OperatorPause()
	switch {
	case !p.On(now):
	case p.Until.IsZero():
		return time.Time{}, true
	default:
		// How long is left is for the wall clock to say, and when that is over, for the monotonic
		// one.
		if until := now.Add(p.Until.Sub(now.Round(0))); until.After(end) {
			end = until
		}
		return end, true
	}
	return end, is
}
