package sender

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ClearThrottle ends, before its time and durably, the pause that the destination ordered: in the
// queue, in the sender, and in the limiter if that is a [Resumer], also for others that share it.
// One request goes first, alone; its success opens the lane, at the rate that the limiter then has.
// A hold, an operator's pause and a lowered rate stay. Without a pause it does nothing. The caller
// answers for disobeying the destination.
//
// An answer that comes during the call may order another pause: that is obeyed, or cleared too. The
// error wraps [errors.ErrUnsupported] if the queue is no [Operator]: nothing has changed. Any other
// error is from the queue or ctx, and it is not known whether the pause was ended. ClearThrottle
// may be called at any time.
func (s *Sender) ClearThrottle(ctx context.Context) error {
	var err error
	switch {
	case ctx == nil:
		err = errors.New("the context is nil")
	case s.operator == nil:
		err = fmt.Errorf("the queue cannot end a pause: %w", errors.ErrUnsupported)
	default:
		err = s.clearThrottle(ctx)
	}
	if _, named := err.(*StoreError); err == nil || named {
		return err // it says which operation failed, and where
	}
	return fmt.Errorf("sender: clear throttle: %w", err)
}

func (s *Sender) clearThrottle(ctx context.Context) error {
	c := &clearing{ctx: ctx, done: make(chan error, 1)}
	select {
	case <-s.began:
	default:
		c.clear(s)
		s.inbox.leave(cleared{c}) // Run may have begun since, and know the pause
		return c.err
	}
	s.inbox.leave(c)
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		direct := &clearing{ctx: ctx}
		direct.clear(s)
		return direct.err
	}
}

// A clearing is one call of ClearThrottle. It belongs to the loop, then to the goroutine that calls
// clear, until that reports.
type clearing struct {
	ctx  context.Context
	done chan error // holds one
	was  bool       // there was a pause
	err  error
}

// clear ends the pause in the queue, and then in the limiter. A crash between them ends both.
func (c *clearing) clear(s *Sender) {
	c.was = !s.Status().PausedUntil.IsZero()
	if c.err = s.operator.ClearThrottle(c.ctx); c.err != nil {
		return
	}
	if r, ok := s.limiter.(Resumer); ok {
		r.Resume()
	}
}

// cleared tells the loop that a clearing has ended.
type cleared struct{ *clearing }

// clearThrottles starts the next clearing. It waits until the queue records nothing, and no Settle
// starts meanwhile: an outcome with the order would bring the pause back. Nothing is offered
// meanwhile. It does not wait for those that hear of outcomes: they may be the ones that call
// ClearThrottle.
func (l *loop) clearThrottles() {
	if len(l.clearings) == 0 || l.clearing || l.recording.Load() > 0 {
		return
	}
	c := l.clearings[0]
	l.clearings = l.clearings[1:]
	l.clearing = true
	l.forgetOrders()
	l.stopBaton() // a worker that waits for the limiter would go with the others
	l.helpers.Go(func() {
		c.clear(l.Sender)
		l.inbox.leave(cleared{c})
	})
}

// forgetOrders takes the pauses out of the outcomes that are not recorded yet.
func (l *loop) forgetOrders() {
	for i := range l.toSettle.list {
		l.toSettle.list[i].PauseUntil = time.Time{}
	}
}

// throttleCleared lets one request go at once, if there was a pause.
func (l *loop) throttleCleared(c *clearing, now time.Time) {
	l.clearing = false
	if c.err == nil {
		paused := l.silence.paused.After(now)
		l.forgetOrders()
		l.gate.open()
		l.silence.clear(now, c.was)
		if paused || c.was {
			l.options.Logger.Info("sender: the destination's pause was ended by the operator")
		}
		l.changed, l.askAgain = true, true
	}
	c.done <- c.err
}

// clear ends a pause: the probe may go at once. was says that there is a pause that the silence
// does not know, as one that another lane was told. A hold stays.
func (s *silence) clear(now time.Time, was bool) {
	switch {
	case s.paused.After(now):
		s.paused, s.until = time.Time{}, now
	case was && !s.on():
		*s = silence{since: now.Add(-1), until: now, failed: 1} // a request that begins now is of this silence
	}
}

// open takes the end of a pause back.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = time.Time{}
}
