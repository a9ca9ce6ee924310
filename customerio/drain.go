package customerio

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/seed8107221f/outbox"
)

// Drain waits until no lane has anything pending: through retries, pauses and outages, and for what
// is put meanwhile. It sends nothing sooner than without it, and the dead do not count. A lane
// without credentials cannot get there, so it fails at once.
//
// At the end of ctx the error wraps outbox.ErrPending and the error of ctx, and says for each lane
// how many remain and why. A Shutdown or Close meanwhile ends Drain when it has ended: nil if
// nothing remains, otherwise the error wraps outbox.ErrPending and outbox.ErrClosed. After Close it
// is outbox.ErrClosed.
func (c *Client) Drain(ctx context.Context) error {
	select {
	case <-c.quit:
		return fmt.Errorf("customerio: drain: %w", outbox.ErrClosed)
	default:
	}
	return c.each("drain", func(l *lane) error { return c.drain(ctx, l) })
}

// drain waits until one lane has nothing pending.
func (c *Client) drain(ctx context.Context, l *lane) error {
	var ended error
	for wait := time.Millisecond; l.Stats().Pending > 0; wait = min(2*wait, 100*time.Millisecond) {
		if ended == nil && !c.sends(l.name) {
			ended = ErrCredentials
		}
		if ended != nil {
			return fmt.Errorf("%w: %s: %w", outbox.ErrPending, remains(l.Stats()), ended)
		}
		select {
		case <-time.After(wait):
		case <-c.done:
			ended = outbox.ErrClosed
		case <-ctx.Done():
			ended = context.Cause(ctx)
		}
	}
	return nil
}

// sends reports whether a lane has credentials.
func (c *Client) sends(name Lane) bool {
	if name == LaneTrack || name == LaneImport {
		return c.o.TrackKey != ""
	}
	return c.o.AppKey != ""
}

// remains says how many operations are pending, and what they wait for.
func remains(s outbox.Stats) string {
	var parts []string
	for _, p := range [...]struct {
		n    int
		what string
	}{{s.Ready, "ready"}, {s.Scheduled, "scheduled"}, {s.Retrying, "retrying"}, {s.InLine, "in line behind their key"}, {s.InFlight, "in flight"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprint(p.n, " ", p.what))
		}
	}
	if !s.PausedUntil.IsZero() {
		parts = append(parts, "paused until "+s.PausedUntil.Format(time.RFC3339))
	}
	if s.Held != "" {
		parts = append(parts, "held: "+s.Held)
	}
	return fmt.Sprintf("%d pending (%s)", s.Pending, strings.Join(parts, ", "))
}
