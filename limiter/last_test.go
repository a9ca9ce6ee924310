package limiter

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// load is a lane: it asks for a start every so often, at once when it is late. 0: without a break.
func load(ctx context.Context, every time.Duration, wait func(context.Context) error) (starts int) {
	next := time.Now()
	for wait(ctx) == nil {
		starts++
		if every == 0 {
			time.Sleep(time.Millisecond) // between two calls of a lane there is always something to do
			continue
		}
		if next = next.Add(every); next.After(time.Now()) {
			time.Sleep(time.Until(next))
		}
	}
	return starts
}

// Work that gives way gets what live work leaves, and never less than its floor.
func TestWaitLastGivesWay(t *testing.T) {
	const minute = 60
	for name, c := range map[string]struct {
		live              time.Duration // between two starts; negative: none
		liveLow, liveHigh int           // starts in a minute
		lastLow, lastHigh int
	}{
		"live takes all":  {0, 74 * minute, 76 * minute, 4.8 * minute, 5.2 * minute},
		"live takes half": {25 * time.Millisecond, 39.5 * minute, 40.5 * minute, 38 * minute, 41 * minute},
		"nothing live":    {-1, 0, 0, 79 * minute, 81 * minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := Within(100, time.Second)
				l.PerSecond = 80
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var live, last int
				var wg sync.WaitGroup
				wg.Go(func() { last = load(ctx, 0, l.WaitLast) })
				if c.live >= 0 {
					wg.Go(func() { live = load(ctx, c.live, l.Wait) })
				}
				wg.Wait()
				if live < c.liveLow || live > c.liveHigh || last < c.lastLow || last > c.lastHigh {
					t.Errorf("live %d, want %d to %d; last %d, want %d to %d", live, c.liveLow, c.liveHigh, last, c.lastLow, c.lastHigh)
				}
			})
		})
	}
}

// A call of WaitLast whose context ends while the next start is its own holds nobody up, and a
// limiter without a limit makes nobody wait.
func TestWaitLastEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 10}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.WaitLast(ctx) }()
		live, cancelLive := context.WithCancel(t.Context())
		starts := make(chan int)
		go func() { starts <- load(live, 0, l.Wait) }()
		time.Sleep(1510 * time.Millisecond) // fifteen have passed
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("WaitLast: %v", err)
		}
		time.Sleep(time.Second)
		cancelLive()
		if n := <-starts; n < 24 || n > 26 {
			t.Errorf("%d started in 2.5 s, want 25", n)
		}
		none := new(Limiter)
		for range 100 {
			if err := errors.Join(none.WaitLast(t.Context()), none.Wait(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		if err := (&Limiter{Burst: -1}).WaitLast(t.Context()); err == nil {
			t.Error("no error with invalid settings")
		}
	})
}

// Pause, from any caller, is what Paused tells; nothing else is a pause.
func TestPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Within(100, time.Second)
		if p := l.Paused(); !p.IsZero() {
			t.Errorf("at first: %v", p)
		}
		l.Slow()
		if p := l.Paused(); !p.IsZero() {
			t.Errorf("after Slow: %v", p)
		}
		end := time.Now().Add(time.Minute)
		l.Pause(end)
		l.Pause(end.Add(-time.Second))
		if p := l.Paused(); !p.Equal(end) {
			t.Errorf("paused until %v, want %v", p, end)
		}
		time.Sleep(time.Minute)
		if p := l.Paused(); !p.IsZero() {
			t.Errorf("afterwards: %v", p)
		}
	})
}
