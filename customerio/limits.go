package customerio

import (
	"context"
	"math"
	"time"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

// paced returns the limiter of an API that accepts limit requests in a second. This process starts
// at most its share of them in any rolling second, and four fifths of that on average.
func paced(limit int, share float64) *limiter.Limiter {
	n := max(1, int(float64(limit)*share))
	l := limiter.Within(n, time.Second)
	if n >= 10 {
		l.PerSecond, l.Burst = 0.8*float64(n), n/10
	}
	return l
}

// broadcasts returns the limiter of broadcasts: one in every divided by share, at most a minute
// apart.
func broadcasts(every time.Duration, share float64) *limiter.Limiter {
	return limiter.Within(1, time.Duration(min(float64(every)/share, float64(time.Minute))))
}

// both is the limiter of a lane followed by the limiter of its API, at which the lane gives way to
// others.
type both struct{ lane, api *limiter.Limiter }

// behind returns a limiter that waits for perSecond, and then for what others leave of api: for at
// least one start in sixteen.
func behind(api *limiter.Limiter, perSecond float64) sender.Limiter {
	return both{&limiter.Limiter{PerSecond: perSecond, Burst: max(1, int(perSecond/10))}, api}
}

func (b both) Check() error {
	if err := b.lane.Check(); err != nil {
		return err
	}
	return b.api.Check()
}

// Wait asks the lane first: an API token that waits for the lane would be lost to other lanes.
func (b both) Wait(ctx context.Context) error {
	if err := b.lane.Wait(ctx); err != nil {
		return err
	}
	return b.api.WaitLast(ctx)
}

func (b both) Paused() time.Time { return b.api.Paused() }

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
