package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// checkEvery is the shortest interval of checks while the lane is busy.
const checkEvery = 20 * time.Millisecond

// timeToBegin is how long Flush waits for Run: the program may have started its goroutine just
// before.
const timeToBegin = time.Second

var errEnded = errors.New("Run has ended")

// flush is one call of Flush that waits.
type flush struct {
	ctx  context.Context
	mark uint64
	done chan error // holds one; the loop sends once
	err  error      // of Unsent; owned by the check until it reports
}

// Flush waits until every item that was in the queue before the call, and could be sent, has been
// sent or tried once since the call, and until that is recorded. During the call no outcome waits
// to share a commit. Flush does not wait for items that are scheduled or wait for a retry.
//
// It returns an error if Run has not begun within a second, if Run ends, at once if nothing can be
// sent before the deadline of ctx (because of a pause, for instance, one without an end included,
// or because the next probe of a held lane comes later), and when ctx ends. The last one wraps the
// error of ctx and says why items remain. Several calls may wait at once.
func (s *Sender) Flush(ctx context.Context) error {
	if ctx == nil {
		return errors.New("sender: flush: the context is nil")
	}
	begin := time.NewTimer(timeToBegin)
	defer begin.Stop()
	select {
	case <-s.began:
	case <-begin.C:
		return errors.New("sender: flush: Run has not been called")
	case <-ctx.Done():
		return fmt.Errorf("sender: flush: %w (Run has not been called)", ctx.Err())
	}
	f := &flush{ctx: ctx, done: make(chan error, 1)}
	if m, ok := s.queue.(Marker); ok {
		mark, err := m.Mark(ctx, s.now())
		if err != nil {
			return fmt.Errorf("sender: flush: %w", err)
		}
		f.mark = mark
	}
	select {
	case <-s.ended: // the inbox is no longer read
		return fmt.Errorf("sender: flush: %w", errEnded)
	default:
		s.inbox.leave(f)
	}
	var err error
	select {
	case err = <-f.done:
	case <-s.ended:
		err = errEnded
	case <-ctx.Done():
		err = s.whyNotFlushed(ctx)
	}
	if err != nil {
		return fmt.Errorf("sender: flush: %w", err)
	}
	return nil
}

// whyNotFlushed returns the error of a ctx that has ended, with the reason why items remain.
func (s *Sender) whyNotFlushed(ctx context.Context) error {
	st := s.Status()
	p, paused := s.pausedByOperator()
	n := s.inFlight.Load()
	why := "no request is in flight, the queue is still at work"
	switch {
	case st.Held != "":
		why = fmt.Sprintf("held since %s: %s", st.HeldSince.Format(time.RFC3339), st.Held)
	case paused:
		why = p.text()
	case !st.PausedUntil.IsZero():
		why = "paused until " + st.PausedUntil.Format(time.RFC3339)
	case s.waiting.Load():
		why = fmt.Sprintf("the next request waits for its turn under the rate limit, requests in flight: %d", n)
	case n > 0:
		why = fmt.Sprintf("items are still being sent, requests in flight: %d", n)
	}
	return fmt.Errorf("%w (%s)", ctx.Err(), why)
}

// nothingBefore returns the time before which no request starts, and why; zero: one may start now.
// While a probe is in flight nobody knows. A Settle that fails is no reason: the last try, at the
// end of Run, may succeed, and the later it comes the better.
func (l *loop) nothingBefore(now time.Time) (at time.Time, why string) {
	switch s := &l.silence; {
	case l.byOperator():
		return latest(l.ordered.Until, now), l.ordered.text()
	case s.paused.After(now):
		return s.paused, "paused until " + s.paused.Format(time.RFC3339)
	case s.on() && l.probe == nil && s.until.After(now):
		return s.until, "held: " + heldBecause + s.cause + "; the next probe is at " + s.until.Format(time.RFC3339)
	case l.claimTrouble.again.After(now):
		return l.claimTrouble.again, "held: " + l.claimTrouble.err.Error()
	case l.limiterTrouble.again.After(now):
		return l.limiterTrouble.again, "held: " + l.limiterTrouble.err.Error()
	}
	return time.Time{}, ""
}

// addFlush begins to serve f.
func (l *loop) addFlush(f *flush) {
	l.flushes = append(l.flushes, f)
	l.askAgain, l.progress, l.checkAt = true, true, time.Time{}
}

// serveFlushes ends the waits that are over, and starts a check of the others when it is time. Only
// one check runs at a time, beside the loop.
func (l *loop) serveFlushes(now time.Time) {
	if len(l.flushes) == 0 {
		return
	}
	l.flushes = slices.DeleteFunc(l.flushes, func(f *flush) bool {
		if f.ctx.Err() != nil {
			return true // it has returned
		}
		if l.byOperator() && l.ordered.Until.IsZero() {
			f.done <- errors.New(l.ordered.text())
			return true
		}
		if deadline, ok := f.ctx.Deadline(); ok {
			if at, why := l.nothingBefore(now); !at.IsZero() && (at.After(deadline) || l.tooLate(at)) {
				f.done <- fmt.Errorf("%s, too late for the deadline %s", why, deadline.Format(time.RFC3339))
				return true
			}
		}
		if l.abandoned >= l.most() {
			f.done <- errors.New(l.allAbandoned())
			return true
		}
		return false
	})
	if l.checking {
		return
	}
	if l.abandoned > 0 && l.quiet(now) {
		l.endFlushes(slices.Clone(l.flushes), now) // the rest has been tried, and may never return
	}
	m, marks := l.queue.(Marker)
	if (!marks || !l.progress) && l.idle() && l.tooLate(now) && !l.quiet(now) {
		for _, f := range l.flushes {
			f.err = fmt.Errorf("too little time for another request: lately they took up to %v", l.usual.Round(time.Millisecond))
		}
		l.endFlushes(slices.Clone(l.flushes), now)
	}
	if len(l.flushes) == 0 || !l.progress {
		return
	}
	if !marks {
		if l.quiet(now) {
			l.endFlushes(slices.Clone(l.flushes), now)
		}
		return
	}
	if !l.idle() && now.Before(l.checkAt) {
		return
	}
	l.checking, l.progress = true, false
	waiting := slices.Clone(l.flushes)
	l.helpers.Go(func() {
		var ended []*flush
		for _, f := range waiting {
			var unsent bool
			unsent, f.err = m.Unsent(l.ctx, now, f.mark)
			if !unsent || f.err != nil {
				ended = append(ended, f)
			}
		}
		l.inbox.leave(checked(ended))
	})
}

// busy reports whether a worker has the baton or a call is in flight that was not abandoned.
func (l *loop) busy() bool { return l.bearer != nil || len(l.flight) > l.abandoned }

// idle reports whether the loop is not busy, and every outcome is recorded.
func (l *loop) idle() bool { return !l.busy() && l.unsettled == 0 && len(l.pieces) == 0 }

// quiet reports whether the loop is idle, and nothing is due.
func (l *loop) quiet(now time.Time) bool {
	return l.idle() && !l.moreDue && !l.askAgain && !l.askDue(now)
}

// nextCheck returns when to check again; zero: not before progress is made.
func (l *loop) nextCheck() time.Time {
	if len(l.flushes) == 0 || !l.progress {
		return time.Time{}
	}
	return l.checkAt
}

// endFlushes ends the waits that a check found to be over.
func (l *loop) endFlushes(ended []*flush, now time.Time) {
	l.checking = false
	l.checkAt = now.Add(checkEvery)
	l.flushes = slices.DeleteFunc(l.flushes, func(f *flush) bool {
		over := slices.Contains(ended, f)
		if over {
			f.done <- f.err
		}
		return over
	})
}
