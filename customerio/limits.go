package customerio

import (
	"context"
	"math"
	"time"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

// paced returns the limiter of an API that takes limit requests in a second: never more than this
// process's share of it in any rolling second, and four fifths of that on average.
func paced(limit int, share float64) *limiter.Limiter {
	n := max(1, int(float64(limit)*share))
	l := limiter.Within(n, time.Second)
	if n >= 10 {
		l.PerSecond, l.Burst = 0.8*float64(n), n/10
	}
	return l
}

// broadcasts returns the limiter of triggers: one in ten seconds, or in as much longer as the share is
// smaller, up to a minute.
func broadcasts(share float64) *limiter.Limiter {
	return limiter.Within(1, min(time.Duration(float64(10*time.Second)/share), time.Minute))
}

// both is a limiter of one lane behind which stands that of a whole API.
type both struct{ lane, api *limiter.Limiter }

// behind returns a limiter that waits for perSecond and then for api.
func behind(api *limiter.Limiter, perSecond float64) sender.Limiter {
	return both{&limiter.Limiter{PerSecond: perSecond, Burst: max(1, int(perSecond/10))}, api}
}

func (b both) Check() error {
	if err := b.lane.Check(); err != nil {
		return err
	}
	return b.api.Check()
}

// Wait asks the lane first: a token of the API that then waited for the lane would be lost to others.
func (b both) Wait(ctx context.Context) error {
	if err := b.lane.Wait(ctx); err != nil {
		return err
	}
	return b.api.Wait(ctx)
}

func (b both) Pause(until time.Time) {
	b.lane.Pause(until)
	b.api.Pause(until)
}

func (b both) Slow() {
	b.lane.Slow()
	b.api.Slow()
}

func (b both) Rate() float64 {
	lane, api := b.lane.Rate(), b.api.Rate()
	if lane == 0 || api == 0 {
		return math.Max(lane, api)
	}
	return math.Min(lane, api)
}
