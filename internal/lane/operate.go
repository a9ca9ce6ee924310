package lane

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed8107221f/outbox/internal/errtext"
	"github.com/seed8107221f/outbox/sender"
)

// errNoTransport: the lane only stores.
var errNoTransport = fmt.Errorf("no transport: %w", errors.ErrUnsupported)

// Observe has fn told every outcome until stop. A lane that only stores has none.
func (l *Lane) Observe(fn func(sender.Outcome)) (stop func()) {
	if l.Sender == nil {
		return func() {}
	}
	return l.Sender.Observe(fn)
}

// SetConcurrency changes how many requests may be in flight.
func (l *Lane) SetConcurrency(n int) error {
	if l.Sender == nil {
		return errNoTransport
	}
	return l.Sender.SetConcurrency(n)
}

// ClearThrottle ends a pause that the destination asked for, wherever it is kept.
func (l *Lane) ClearThrottle(ctx context.Context) error {
	if l.Sender != nil {
		return errtext.Without("sender: clear throttle: ", l.Sender.ClearThrottle(ctx))
	}
	return errtext.With(l.Store, func(s sender.Operator) error { return s.ClearThrottle(ctx) })
}
