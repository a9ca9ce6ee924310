package customerio

import (
	"context"
	"fmt"

	"github.com/seed8107221f/outbox"
)

// Drain waits until no lane has anything pending: through retries, pauses and outages, and also for
// what is put during the call. It makes nothing go sooner. The dead do not count. A lane without
// credentials cannot get there, so it fails at once.
//
// At the end of ctx the error wraps outbox.ErrPending and the error of ctx, and says for each lane
// how many remain and why. A Shutdown or Close that ends during the call ends Drain: with nil if
// nothing remains, otherwise the error wraps outbox.ErrPending and outbox.ErrClosed. After Close it
// is outbox.ErrClosed.
func (c *Client) Drain(ctx context.Context) error {
	select {
	case <-c.quit:
		return fmt.Errorf("customerio: drain: %w", outbox.ErrClosed)
	default:
	}
	return c.each("drain", func(l *lane) error { return l.Drain(ctx) })
}
