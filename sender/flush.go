package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// checkEvery is how often Flush asks a Marker at most while the lane is busy.
const checkEvery = 20 * time.Millisecond

// timeToBegin lets a goroutine that was started just before Flush get to call Run.
const timeToBegin = time.Second

var errEnded = errors.New("Run has ended")

// flush is one call of Flush that waits.
type flush struct {
	ctx  context.Context
	mark uint64
	done chan error // holds one; the loop sends once
	err  error      // of Unsent; owned by the check
}

// Flush waits until every item that was in the queue before the call, and could be sent, has been
// sent or tried once since, and that is recorded; what is recorded meanwhile is not kept waiting for
// company. Items that are scheduled or wait for a retry are not waited for.
//
// It returns an error if Run has not begun within a second or ends meanwhile, at once if a pause
// outlasts the deadline of ctx, and when ctx ends; that one wraps the error of ctx and says what was
// in the way. Several calls may wait at once.
func (s *Sender) Flush(ctx context.Context) error {
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
	case <-s.ended: // nobody reads the inbox any more
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
		err = s.inTheWay(ctx)
	}
	if err != nil {
		return fmt.Errorf("sender: flush: %w", err)
	}
	return nil
}

// inTheWay returns the error of a ctx that has ended, with what kept Flush from returning.
func (s *Sender) inTheWay(ctx context.Context) error {
	st := s.Status()
	why := fmt.Sprintf("items are still being sent, requests in flight: %d", s.flying.Load())
	switch {
	case st.Held != "":
		why = fmt.Sprintf("held since %s: %s", st.HeldSince.Format(time.RFC3339), st.Held)
	case !st.PausedUntil.IsZero():
		why = "paused until " + st.PausedUntil.Format(time.RFC3339)
	}
	return fmt.Errorf("%w (%s)", ctx.Err(), why)
}

// join begins to wait for f.
func (l *loop) join(f *flush) {
	l.flushes = append(l.flushes, f)
	l.news, l.moved, l.check = true, true, time.Time{}
}

// serveFlushes ends the waits that are over, and starts a check of the others when it is time.
func (l *loop) serveFlushes(now time.Time) {
	if len(l.flushes) == 0 {
		return
	}
	l.flushes = slices.DeleteFunc(l.flushes, func(f *flush) bool {
		if f.ctx.Err() != nil {
			return true // it has returned
		}
		if deadline, ok := f.ctx.Deadline(); ok && l.silence.paused.After(now) && l.silence.paused.After(deadline) {
			f.done <- fmt.Errorf("paused until %s, after the deadline %s", l.silence.paused.Format(time.RFC3339), deadline.Format(time.RFC3339))
			return true
		}
		if l.abandoned >= l.options.Concurrency {
			f.done <- fmt.Errorf("all %d requests in flight ignore the end of their context", l.abandoned)
			return true
		}
		return false
	})
	if l.checking {
		return
	}
	if l.abandoned > 0 && l.quiet(now) {
		l.flushed(slices.Clone(l.flushes), now) // what is left has been tried, and nobody knows when it returns
	}
	if len(l.flushes) == 0 || !l.moved {
		return
	}
	m, ok := l.queue.(Marker)
	if !ok {
		if l.quiet(now) {
			l.flushed(slices.Clone(l.flushes), now)
		}
		return
	}
	if !l.idle() && now.Before(l.check) {
		return
	}
	l.checking, l.moved = true, false
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

// busy reports whether something is on its way, calls aside that were abandoned.
func (l *loop) busy() bool { return l.bearer != nil || len(l.flight) > l.abandoned }

// idle reports whether nothing is on its way, and nothing remains to be recorded.
func (l *loop) idle() bool { return !l.busy() && l.unsettled == 0 && len(l.pieces) == 0 }

// quiet reports whether nothing is on its way, and nothing is due.
func (l *loop) quiet(now time.Time) bool {
	return l.idle() && !l.more && !l.news && !l.askNow(now)
}

// nextCheck returns when the Marker is to be asked again; zero: not before something moves.
func (l *loop) nextCheck() time.Time {
	if len(l.flushes) == 0 || !l.moved {
		return time.Time{}
	}
	return l.check
}

// flushed ends waits that a check found to be over.
func (l *loop) flushed(ended []*flush, now time.Time) {
	l.checking = false
	l.check = now.Add(checkEvery)
	l.flushes = slices.DeleteFunc(l.flushes, func(f *flush) bool {
		over := slices.Contains(ended, f)
		if over {
			f.done <- f.err
		}
		return over
	})
}
