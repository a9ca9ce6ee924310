package sendertest

import (
	"context"
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// pausedUntil reports whether a pause is in force at now, and when it ends; zero: when the operator
// says so. It requires that mu is held.
func (m *Memory) pausedUntil(now time.Time) (end time.Time, paused bool) {
	if m.paused.After(now) {
		end, paused = m.paused, true
	}
	switch p := m.operator; {
	case !p.On(now):
	case p.Until.IsZero():
		return time.Time{}, true
	case p.Until.After(end):
		return p.Until, true
	}
	return end, paused
}

// Pause implements [sender.Operator].
func (m *Memory) Pause(ctx context.Context, p sender.Pause) error {
	p.Since = time.Now().Round(0)
	p.Until = p.Until.Round(0) // by the wall clock
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("sendertest: pause: %w", ctx.Err())
	case len(p.By) > 64 || len(p.Reason) > 200:
		return fmt.Errorf("sendertest: pause: By of %d bytes and Reason of %d, at most 64 and 200: %w", len(p.By), len(p.Reason), sender.ErrTooLarge)
	case !p.Until.IsZero() && !p.Until.After(p.Since):
		return fmt.Errorf("sendertest: pause: it would end at %s, and it is %s", p.Until.UTC().Format(time.RFC3339Nano), p.Since.UTC().Format(time.RFC3339Nano))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.operator = p
	return nil
}

// Resume implements [sender.Operator]. Nobody is woken: Memory is no [sender.Exclusive].
func (m *Memory) Resume(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sendertest: resume: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.operator = sender.Pause{}
	return nil
}

// OperatorPause implements [sender.Operator].
func (m *Memory) OperatorPause() sender.Pause {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.operator
}

// ClearThrottle implements [sender.Operator].
func (m *Memory) ClearThrottle(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sendertest: clear throttle: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = time.Time{}
	return nil
}
