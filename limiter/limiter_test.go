package limiter

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	ms    = time.Millisecond
	never = math.MaxInt64 // a Recovery so long that the rate stays where Slow put it
)

// A step of a script is done at an instant after the first call, which is Check.
type step struct {
	at time.Duration
	do func(*testing.T)
}

func script(t *testing.T, l *Limiter, steps ...step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for _, s := range steps {
			if late := time.Since(begin) - s.at; late > 0 {
				t.Fatalf("the step of %v came %v late", s.at, late)
			}
			time.Sleep(s.at - time.Since(begin))
			s.do(t)
		}
	})
}

// starts expects that one Wait after another returns after these times, give or take a microsecond.
func starts(l *Limiter, want ...time.Duration) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		begin := time.Now()
		for i, w := range want {
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got < w-time.Microsecond || got > w+time.Microsecond {
				t.Fatalf("start %d came after %v, want %v", i, got, w)
			}
		}
	}
}

// pause pauses for d from then on.
func pause(l *Limiter, d time.Duration) func(*testing.T) {
	return func(*testing.T) { l.Pause(time.Now().Add(d)) }
}

func slow(l *Limiter) func(*testing.T) { return func(*testing.T) { l.Slow() } }

// rateIs expects Rate, give or take a millionth.
func rateIs(l *Limiter, want float64) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if got := l.Rate(); math.Abs(got-want) > want/1e6 {
			t.Fatalf("rate %v, want %v", got, want)
		}
	}
}

func TestBucket(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		l     *Limiter
		steps func(l *Limiter) []step
	}{
		"empty at first, then steady": {&Limiter{PerSecond: 10}, func(l *Limiter) []step {
			return []step{{0, starts(l, 100*ms, 200*ms, 300*ms, 400*ms)}}
		}},
		"empty at first however large the burst": {&Limiter{PerSecond: 10, Burst: 5}, func(l *Limiter) []step {
			return []step{{0, starts(l, 100*ms, 200*ms)}}
		}},
		"the burst after a long silence, then steady": {&Limiter{PerSecond: 10, Burst: 3}, func(l *Limiter) []step {
			return []step{{time.Hour, starts(l, 0, 0, 0, 100*ms, 200*ms)}}
		}},
		"a silence of two tokens gives two": {&Limiter{PerSecond: 10, Burst: 3}, func(l *Limiter) []step {
			return []step{{250 * ms, starts(l, 0, 0, 50*ms, 150*ms)}}
		}},
		"a rate below one a second": {&Limiter{PerSecond: 0.0001}, func(l *Limiter) []step {
			return []step{{0, starts(l, 10000*s, 20000*s)}}
		}},
		"empty after a pause": {&Limiter{PerSecond: 10, Burst: 5}, func(l *Limiter) []step {
			return []step{{time.Hour, pause(l, time.Minute)}, {time.Hour, starts(l, time.Minute+100*ms, time.Minute+200*ms)}}
		}},
		"full again some time after a pause": {&Limiter{PerSecond: 10, Burst: 2}, func(l *Limiter) []step {
			return []step{{0, pause(l, time.Minute)}, {time.Minute + 300*ms, starts(l, 0, 0, 100*ms)}}
		}},
		"a pause is extended": {&Limiter{PerSecond: 10}, func(l *Limiter) []step {
			return []step{{0, pause(l, s)}, {500 * ms, pause(l, s)}, {500 * ms, starts(l, 1100*ms)}}
		}},
		"a pause is not shortened": {&Limiter{PerSecond: 10}, func(l *Limiter) []step {
			return []step{{0, pause(l, 2*s)}, {s, pause(l, 500*ms)}, {s, starts(l, 1100*ms)}}
		}},
		"a pause in the past is none": {&Limiter{PerSecond: 10, Burst: 2}, func(l *Limiter) []step {
			return []step{{s, pause(l, -ms)}, {s, pause(l, 0)}, {s, starts(l, 0, 0, 100*ms)}}
		}},
		"the zero Limiter": {&Limiter{}, func(l *Limiter) []step {
			return []step{{0, starts(l, 0, 0, 0)}, {0, pause(l, s)}, {0, starts(l, s, s, s)}, {s, slow(l)}, {s, rateIs(l, 0)}, {s, starts(l, 0, 0)}}
		}},
		"slow halves, and the bucket is empty": {&Limiter{PerSecond: 10, Burst: 3, Recovery: never}, func(l *Limiter) []step {
			return []step{{s, slow(l)}, {s, rateIs(l, 5)}, {s, starts(l, 200*ms, 400*ms)}}
		}},
		"slow at the end of a silence pays nothing for it": {&Limiter{PerSecond: 10, Burst: 30, Recovery: never}, func(l *Limiter) []step {
			return []step{{s, slow(l)}, {2*s + 50*ms, starts(l, 0, 0, 0, 0, 0, 150*ms)}}
		}},
		"once per episode": {&Limiter{PerSecond: 10, Recovery: never}, func(l *Limiter) []step {
			return []step{{s, slow(l)}, {s, slow(l)}, {2 * s, slow(l)}, {2 * s, rateIs(l, 5)},
				{2 * s, starts(l, 0)}, {2 * s, slow(l)}, {2 * s, slow(l)}, {2 * s, rateIs(l, 2.5)}}
		}},
		"a sixteenth is the floor": {&Limiter{PerSecond: 16}, func(l *Limiter) []step {
			var steps []step
			for range 9 {
				steps = append(steps, step{0, slow(l)}, step{0, pass(l)})
			}
			return append(steps, step{0, slow(l)}, step{0, rateIs(l, 1)})
		}},
		"a floor of one's own": {&Limiter{PerSecond: 16, Floor: 6}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {0, rateIs(l, 8)}, {0, pass(l)}, {0, slow(l)}, {0, rateIs(l, 6)}}
		}},
		"from the floor back in Recovery": {&Limiter{PerSecond: 20, Floor: 10, Recovery: 10 * s}, func(l *Limiter) []step {
			return []step{{s, slow(l)}, {s, rateIs(l, 10)}, {2 * s, rateIs(l, 11)}, {6 * s, rateIs(l, 15)},
				{11 * s, rateIs(l, 20)}, {time.Hour, rateIs(l, 20)}}
		}},
		"from above the floor back sooner": {&Limiter{PerSecond: 20, Floor: 4, Recovery: 16 * s}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {0, rateIs(l, 10)}, {4 * s, rateIs(l, 14)}, {10 * s, rateIs(l, 20)}, {12 * s, rateIs(l, 20)}}
		}},
		"a minute is the recovery": {&Limiter{PerSecond: 100, Floor: 50}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {30 * s, rateIs(l, 75)}, {60 * s, rateIs(l, 100)}}
		}},
		"no climb during a pause, slowed before it": {&Limiter{PerSecond: 20, Floor: 10, Recovery: 10 * s}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {0, pause(l, time.Minute)}, {50 * s, rateIs(l, 10)}, {60 * s, rateIs(l, 10)}, {65 * s, rateIs(l, 15)}}
		}},
		"no climb during a pause, slowed in it": {&Limiter{PerSecond: 20, Floor: 10, Recovery: 10 * s}, func(l *Limiter) []step {
			return []step{{0, pause(l, time.Minute)}, {s, slow(l)}, {s, rateIs(l, 10)}, {60 * s, rateIs(l, 10)}, {60 * s, starts(l, 100*ms)},
				{65 * s, rateIs(l, 15)}}
		}},
		"a pause in the climb keeps what was climbed": {&Limiter{PerSecond: 20, Floor: 10, Recovery: 10 * s}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {5 * s, pause(l, time.Minute)}, {65 * s, rateIs(l, 15)}, {70 * s, rateIs(l, 20)}}
		}},
		"slow in the climb halves what was climbed": {&Limiter{PerSecond: 20, Floor: 5, Recovery: 15 * s}, func(l *Limiter) []step {
			return []step{{0, slow(l)}, {4 * s, rateIs(l, 14)}, {4 * s, pass(l)}, {4 * s, slow(l)}, {4 * s, rateIs(l, 7)}}
		}},
	} {
		t.Run(name, func(t *testing.T) { script(t, test.l, test.steps(test.l)...) })
	}
}

// pass ends an episode like a start does, without the time that a token takes.
func pass(l *Limiter) func(*testing.T) {
	return func(*testing.T) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slowed = false
	}
}

// The starts during a climb are those of the area below the line, at most one short of it, so that a
// sleeper does not oversleep the higher rate.
func TestStartsFollowTheClimb(t *testing.T) {
	for _, l := range []*Limiter{
		{PerSecond: 100, Floor: 1, Recovery: time.Minute},
		{PerSecond: 0.5, Floor: 0.001, Recovery: time.Hour},
		{PerSecond: 100, Floor: 0.0001, Recovery: time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			for range 20 { // down to the floor
				l.Slow()
				pass(l)(t)
			}
			l.Slow()
			rateIs(l, max(l.Floor, l.PerSecond/(1<<21)))(t)
			begin, low := time.Now(), l.Rate()
			slope := (l.PerSecond - l.Floor) / l.Recovery.Seconds()
			for n := 1.0; time.Since(begin) < l.Recovery*9/10; n++ {
				if err := l.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				d := time.Since(begin).Seconds()
				area := low*d + slope*d*d/2
				if n > area+1e-3 || n < 0.97*area-1 {
					t.Fatalf("after %.3fs %v starts, %.3f are the rate's", d, n, area)
				}
			}
		})
	}
}

func TestPauseReachesTheSleeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 1}
		l.Check()
		time.AfterFunc(900*ms, func() { l.Pause(time.Now().Add(time.Minute)) })
		time.AfterFunc(30*time.Second, func() { l.Pause(time.Now().Add(time.Minute)) })
		starts(l, 91*time.Second, 92*time.Second)(t)
	})
}

func TestSlowReachesTheSleeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 1, Recovery: never}
		l.Check()
		time.AfterFunc(900*ms, l.Slow)
		starts(l, 2900*ms)(t)
	})
}

// A pause that comes from the wall clock alone, as from a file, is measured by the monotonic clock
// from then on; String shows whether a Time has such a reading.
func TestPauseWithoutMonotonicReading(t *testing.T) {
	l := new(Limiter)
	l.Pause(time.Now().Add(time.Hour).Round(0))
	if got := l.from.String(); !strings.Contains(got, " m=") {
		t.Fatalf("the pause ends at %s: by the wall clock", got)
	}
}

func TestPauseForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 1}
		for range 2 {
			l.Pause(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
			ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
			defer cancel()
			if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		}
	})
}

// A rate so low that the time to the next token is beyond any Duration starts nothing.
func TestRateNextToNothing(t *testing.T) {
	for _, perSecond := range []float64{1e-12, 1e-300, math.SmallestNonzeroFloat64} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
			defer cancel()
			if err := (&Limiter{PerSecond: perSecond}).Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("%v a second: got %v", perSecond, err)
			}
		})
	}
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 1, Burst: 2}
		l.Check()
		time.Sleep(time.Hour)
		cause, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("enough"))
		for range 10 { // an ended context takes no token
			if err := l.Wait(cause); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "limiter: ") {
				t.Fatalf("got %v", err)
			}
		}
		starts(l, 0, 0)(t)

		// One sleeps for its token, another waits for its turn: both leave at their deadline, not before.
		begin := time.Now()
		var wg sync.WaitGroup
		for _, deadline := range []time.Duration{700 * ms, 400 * ms} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				err := l.Wait(ctx)
				if d := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "limiter: ") || d != deadline {
					t.Errorf("got %v after %v, want the deadline's error after %v", err, d, deadline)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		starts(l, 300*ms, 1300*ms)(t) // and took nothing

		// Without a limit too.
		if err := new(Limiter).Wait(cause); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestServedInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 1}
		l.Check()
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := l.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				want := time.Duration(i+1) * time.Second
				if got := time.Since(begin); got < want || got > want+ms {
					t.Errorf("the %d. to come started after %v, want %v", i+1, got, want)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// Two lanes that always want to start share the rate evenly.
func TestTwoLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 50, Burst: 5}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+ms)
		defer cancel()
		var n [2]int
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				for l.Wait(ctx) == nil {
					n[i]++
				}
			})
		}
		wg.Wait()
		if n[0]+n[1] != 500 || n[0] != n[1] {
			t.Fatalf("%d starts in ten seconds, want 250 each", n)
		}
	})
}

// Run with -race: nothing but the methods' own locking protects them here.
func TestAllAtOnce(t *testing.T) {
	for _, l := range []*Limiter{{}, {PerSecond: 1000, Burst: 10}, Within(5, 50*ms), Within(200, time.Second)} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var wg sync.WaitGroup
			started := make([]int, 4)
			for i := range started {
				wg.Go(func() {
					for l.Wait(ctx) == nil {
						started[i]++
						time.Sleep(ms) // the request
					}
				})
				wg.Go(func() {
					for ctx.Err() == nil {
						l.Pause(time.Now().Add(3 * ms))
						l.Slow()
						if l.Rate() < 0 || l.Check() != nil {
							t.Error("out of order")
						}
						time.Sleep(time.Duration(1000+i) * ms)
					}
				})
			}
			wg.Wait()
			for i, n := range started {
				if n == 0 {
					t.Errorf("waiter %d never started", i)
				}
			}
		})
	}
}

// A pause that was told by the wall clock alone is over when the monotonic clock says so, for Paused and
// Resume as well: a step of the wall clock changes nothing.
func TestPauseByTheWallClock(t *testing.T) {
	l := new(Limiter)
	until := time.Now().Add(time.Hour).Round(0)
	l.Pause(until)
	if at := l.Paused(); !at.Equal(until) || at == at.Round(0) {
		t.Errorf("paused until %v, want %v with a monotonic reading", at, until)
	}
}
