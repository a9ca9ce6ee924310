package sender

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// A Pause is an operator's order to send nothing for a while.
type Pause struct {
	Until  time.Time `json:"until,omitzero"`  // by the wall clock; zero: until Resume
	Since  time.Time `json:"since,omitzero"`  // when it was ordered; set by the store. Zero: there is no pause
	By     string    `json:"by,omitzero"`     // who ordered it, at most 64 bytes
	Reason string    `json:"reason,omitzero"` // why, at most 200 bytes
}

// On reports whether the pause is in force at now.
func (p Pause) On(now time.Time) bool {
	return !p.Since.IsZero() && (p.Until.IsZero() || p.Until.After(now))
}

// An Operator is a queue that keeps an operator's pause, across restarts. While the pause is in
// force, Claim hands out nothing; its next is the end of the pause, or zero if it has none. Settle
// and everything else works. Without this ability the operator cannot pause the lane.
type Operator interface {
	// Pause records p durably, in place of an earlier one, and sets Since. By or Reason that are
	// too long, or an Until that is not after now, are an error, and nothing is recorded. It wakes
	// the sender.
	Pause(ctx context.Context, p Pause) error
	// Resume ends the operator's pause durably, and wakes the sender. It does not touch a pause
	// that the destination asked for. Without a pause it does nothing.
	Resume(ctx context.Context) error
	// OperatorPause returns the latest pause; a zero Since: there is none. It may be over: see
	// [Pause.On]. It never waits.
	OperatorPause() Pause
	// ClearThrottle ends durably, before its time, the kept pause that the destination asked for,
	// and wakes the sender. Without one it does nothing.
	ClearThrottle(ctx context.Context) error
}

// A Resumer is a [Limiter] whose Pause can be taken back. Without it, clearing the throttle of a
// lane does not reach a pause that its limiter was told.
type Resumer interface {
	// Resume ends the pause. It grants no burst.
	Resume()
}

// A Limited is a [Limiter] that tells its setting. Without it the setting is not shown.
type Limited interface {
	// Limit returns the rate as set, in requests per second, where Rate is what is allowed now; 0:
	// no limit.
	Limit() float64
}

// An Explainer is a store that can say what an item waits for. Without it Outbox.Explain is not
// supported.
type Explainer interface {
	// Explain finds an item. seq is where it was last seen; 0, or if it is not there: all items are
	// looked at. [ErrNotFound]: there is none.
	Explain(ctx context.Context, id uuid.UUID, seq uint64) (Wait, error)
}
