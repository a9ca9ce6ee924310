package customerio

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/seed8107221f/outbox"
)

// logHealth writes one line per lane that has something to say, every HealthEvery, until ctx ends.
func (c *Client) logHealth(ctx context.Context) {
	tick := time.NewTicker(c.o.HealthEvery)
	defer tick.Stop()
	before := c.Stats()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := c.Stats()
		for _, name := range Lanes() {
			if s := now[name]; s.Pending > 0 || s.Delivered != before[name].Delivered || s.Dead != before[name].Dead {
				c.o.Logger.LogAttrs(ctx, slog.LevelInfo, "customerio: health", healthAttrs(name, s)...)
			}
		}
		before = now
	}
}

func healthAttrs(name Lane, s outbox.Stats) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("lane", string(name)),
		slog.Int("pending", s.Pending),
		slog.Int("ready", s.Ready),
		slog.Int("retrying", s.Retrying),
		slog.Int("in_flight", s.InFlight),
		slog.Int("dead", s.Dead),
		slog.Uint64("delivered", s.Delivered),
		slog.Float64("rate", math.Round(10*s.Rate)/10),
	}
	if !s.PausedUntil.IsZero() {
		attrs = append(attrs, slog.Time("paused_until", s.PausedUntil))
	}
	if s.Held != "" {
		attrs = append(attrs, slog.String("held", s.Held), slog.Time("held_since", s.HeldSince))
	}
	return attrs
}
