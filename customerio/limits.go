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

// or returns l, or otherwise if l is nil.
func or(l, otherwise sender.Limiter) sender.Limiter {
	if l == nil {
		return otherwise
	}
	return l
}

// check returns what is wrong with the settings of l, if l can tell.
func check(l sender.Limiter) error {
	if c, ok := l.(interface{ Check() error }); ok {
		return c.Check()
	}
	return nil
}

// both is the limiter of a lane followed by the limiter of its API, at which the lane gives way to
// others.
type both struct {
	lane *limiter.Limiter
	api  sender.Limiter
	wait func(context.Context) error // for api
}

// behind returns a limiter that waits for perSecond, and then for what others leave of api: for at
// least one start in sixteen. At an api that cannot give way it takes turns with the others.
func behind(api sender.Limiter, perSecond float64) sender.Limiter {
	b := both{&limiter.Limiter{PerSecond: perSecond, Burst: max(1, int(perSecond/10))}, api, api.Wait}
	if y, ok := api.(interface{ WaitLast(context.Context) error }); ok {
		b.wait = y.WaitLast
	}
	return b
}

func (b both) Check() error {
	if err := b.lane.Check(); err != nil {
		return err
	}
	return check(b.api)
}

// Wait asks the lane first: an API token that waits for the lane would be lost to other lanes.
func (b both) Wait(ctx context.Context) error {
	if err := b.lane.Wait(ctx); err != nil {
		return err
	}
	return b.wait(ctx)
}

func (b both) Paused() time.Time {
	if p, ok := b.api.(sender.Pauser); ok {
		return p.Paused()
	}
	return time.Time{}
}

// Mode says how the API's limiter works now; "" if that cannot tell.
func (b both) Mode() string {
	if m, ok := b.api.(interface{ Mode() string }); ok {
		return m.Mode()
	}
	return ""
}

func (b both) Pause(until time.Time) {
	b.lane.Pause(until)
	b.api.Pause(until)
}

func (b both) Slow() {
	b.lane.Slow()
	b.api.Slow()
}

// Resume ends the pause of both, of the API for its other lanes too.
func (b both) Resume() {
	b.lane.Resume()
	if r, ok := b.api.(sender.Resumer); ok {
		r.Resume()
	}
}

func (b both) Rate() float64 { return lowerRate(b.lane.Rate(), b.api.Rate()) }

func (b both) Limit() float64 {
	if l, ok := b.api.(sender.Limited); ok {
		return lowerRate(b.lane.Limit(), l.Limit())
	}
	return b.lane.Limit()
}

// lowerRate returns the lower of two rates, of which 0 is no limit.
func lowerRate(x, y float64) float64 {
	if x == 0 || y == 0 {
		return math.Max(x, y)
	}
	return math.Min(x, y)
}
