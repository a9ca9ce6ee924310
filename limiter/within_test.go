package limiter

import (
	"context"
	"flag"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var seed = flag.Uint64("seed", 0, "of the random runs; 0: another one each time") // go test ./limiter -seed 1

// dice returns a source of chance and logs how to throw the same again.
func dice(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("again with -seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// most returns how many of the instants lie in the fullest window, both its ends included.
func most(instants []time.Time, window time.Duration) int {
	sorted := slices.SortedFunc(slices.Values(instants), time.Time.Compare)
	fullest, first := 0, 0
	for i, at := range sorted {
		for at.Sub(sorted[first]) > window {
			first++
		}
		fullest = max(fullest, i-first+1)
	}
	return fullest
}

func TestMost(t *testing.T) {
	begin := time.Now()
	var instants []time.Time
	for _, at := range []time.Duration{9, 0, 3, 1, 4, 20} {
		instants = append(instants, begin.Add(at))
	}
	for window, want := range map[time.Duration]int{0: 1, 1: 2, 2: 2, 3: 3, 4: 4, 8: 4, 9: 5, 20: 6} {
		if got := most(instants, window); got != want {
			t.Errorf("in a window of %d: %d, want %d", window, got, want)
		}
	}
}

// A destination receives each request up to 50 ms after its start, and counts.
type destination struct {
	mu       sync.Mutex
	dice     *rand.Rand
	started  []time.Time
	received []time.Time
}

// send returns how many requests there have been.
func (d *destination) send() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.started = append(d.started, now)
	d.received = append(d.received, now.Add(time.Duration(d.dice.Int64N(int64(50*ms)+1))))
	return len(d.started)
}

func (d *destination) random(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dice.IntN(n)
}

func (d *destination) expectAtMost(t *testing.T, limit int, window time.Duration) {
	t.Helper()
	if n := most(d.started, window); n > limit {
		t.Errorf("%d starts within %v, %d are allowed", n, window, limit)
	}
	if n := most(d.received, window); n > limit {
		t.Errorf("%d received within %v, %d are allowed", n, window, limit)
	}
}

// Constant demand: the limit is kept, and used.
func TestWithinUnderConstantDemand(t *testing.T) {
	r := dice(t)
	windows := 60
	if testing.Short() {
		windows = 30
	}
	for _, test := range []struct {
		limit  int
		window time.Duration
		least  float64 // share of limit/window that must be reached
	}{
		{100, time.Second, 0.9},
		{1000, time.Second, 0.9},
		{10, time.Second, 0.9},
		{9, time.Second, 0.9},
		{1, time.Second, 0.9},
		{1, 10 * time.Second, 0.98},
		{1000, time.Minute, 0.9},
		{7, 20 * ms, 0.16},
		{50, 20 * ms, 0.16},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := Within(test.limit, test.window)
			l.Check()
			time.Sleep(2*test.window + time.Second) // out of the first silence, and with a burst saved
			d := &destination{dice: r}
			span := time.Duration(windows) * test.window
			ctx, cancel := context.WithTimeout(t.Context(), span+ms)
			defer cancel()
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for l.Wait(ctx) == nil && d.send() < 2*windows*test.limit {
					}
				})
			}
			wg.Wait()
			d.expectAtMost(t, test.limit, test.window)
			full := float64(windows * test.limit)
			if n := float64(len(d.started)); n < test.least*full {
				t.Errorf("Within(%d, %v): %v starts in %d windows, want %v of %v", test.limit, test.window, n, windows, test.least, full)
			}
			if n, says := float64(len(d.started)), l.Rate()*span.Seconds(); n < 0.99*says || n > 1.01*says+float64(test.limit) {
				t.Errorf("Within(%d, %v): %v starts, Rate promised %v", test.limit, test.window, n, says)
			}
		})
	}
}

// Random arrivals, silences, pauses, slows and cancelled waits, from several lanes.
func TestWithinAtRandom(t *testing.T) {
	r := dice(t)
	for range 60 {
		limit := []int{1, 2, 5, 9, 10, 11, 30, 100}[r.IntN(8)]
		window := []time.Duration{10 * ms, 200 * ms, time.Second, 10 * time.Second, time.Minute}[r.IntN(5)]
		d := &destination{dice: rand.New(rand.NewPCG(r.Uint64(), 0))}
		synctest.Test(t, func(t *testing.T) {
			l := Within(limit, window)
			l.Recovery = window * time.Duration(1+r.IntN(20))
			end := time.Now().Add(60 * window)
			var mu sync.Mutex // guards pauses, and is held while Pause is called
			var pauses []struct{ called, until time.Time }
			var wg sync.WaitGroup
			for range 1 + r.IntN(6) {
				wg.Go(func() { // a lane
					for time.Now().Before(end) {
						for range 1 + d.random(2*limit) {
							ctx, cancel := t.Context(), func() {}
							if d.random(10) == 0 {
								ctx, cancel = context.WithTimeout(ctx, window*time.Duration(d.random(100))/100)
							}
							mu.Lock()
							known := len(pauses)
							mu.Unlock()
							err := l.Wait(ctx)
							cancel()
							if err != nil {
								continue
							}
							d.send()
							now := time.Now()
							mu.Lock()
							for i, p := range pauses {
								// One called during Wait and at this very instant may have come after the start.
								if now.Before(p.until) && (i < known || p.called.Before(now)) {
									t.Errorf("a start %v before the end of a pause", p.until.Sub(now))
								}
							}
							mu.Unlock()
						}
						time.Sleep(window * time.Duration(d.random(300)) / 100)
					}
				})
			}
			for time.Now().Before(end) { // the destination's complaints
				time.Sleep(window * time.Duration(d.random(600)) / 100)
				if d.random(2) == 0 {
					l.Slow()
				}
				if d.random(2) == 0 {
					now := time.Now()
					until := now.Add(window * time.Duration(d.random(200)) / 100)
					mu.Lock()
					l.Pause(until)
					pauses = append(pauses, struct{ called, until time.Time }{now, until})
					mu.Unlock()
				}
			}
			wg.Wait()
		})
		d.expectAtMost(t, limit, window)
		if len(d.started) < limit {
			t.Errorf("Within(%d, %v): only %d starts", limit, window, len(d.started))
		}
		if t.Failed() {
			t.Fatalf("with Within(%d, %v)", limit, window)
		}
	}
}

// A process that crashes at random and starts again has no memory of its starts, and still keeps the limit.
func TestWithinInACrashLoop(t *testing.T) {
	r := dice(t)
	for _, limit := range []int{1, 5, 9, 10, 25, 100} {
		synctest.Test(t, func(t *testing.T) {
			const window = time.Second
			d := &destination{dice: r}
			for range 300 {
				life := time.Duration(r.IntN(4000)) * ms
				idle := time.Duration(r.IntN(2000)) * ms
				ctx, cancel := context.WithTimeout(t.Context(), life)
				l := Within(limit, window)
				l.Check()
				time.Sleep(min(idle, life)) // saves a burst
				for l.Wait(ctx) == nil {
					d.send()
				}
				cancel()
			}
			d.expectAtMost(t, limit, window)
			if len(d.started) < 10*limit {
				t.Errorf("only %d starts", len(d.started))
			}
		})
	}
}

func TestWithin(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		l     *Limiter
		steps func(l *Limiter) []step
	}{
		"a log alone waits for what was before, and is then free at once": {Within(3, s), func(l *Limiter) []step {
			return []step{{0, starts(l, 1100*ms, 1100*ms, 1100*ms, 2200*ms, 2200*ms, 2200*ms, 3300*ms)}}
		}},
		"nine are a log alone": {Within(9, s), func(l *Limiter) []step {
			return []step{{2 * s, burst(l, 9)}, {2 * s, starts(l, 1100*ms)}}
		}},
		"ten have a bucket": {Within(10, s), func(l *Limiter) []step {
			return []step{{2 * s, starts(l, 0, s/9, 2*s/9, 3*s/9)}}
		}},
		"the log slides": {Within(2, s), func(l *Limiter) []step {
			return []step{{2 * s, starts(l, 0)}, {2500 * ms, starts(l, 0, 600*ms, 1100*ms)}}
		}},
		"with a bucket the burst is a tenth": {Within(100, s), func(l *Limiter) []step {
			tick := s / 90
			return []step{{0, starts(l, jitter+tick, jitter+2*tick)},
				{10 * s, starts(l, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, tick, 2*tick)}}
		}},
		"slowed, a log alone is a bucket without burst": {Within(4, s), func(l *Limiter) []step {
			l.Recovery = never
			half := s * 11 / 20 // the log sustains 4 in 1.1s, so half of it is one in 0.55s
			return []step{{2 * s, slow(l)}, {2 * s, starts(l, half, 2*half, 3*half)}, {20 * s, starts(l, 0, half, 2*half)}}
		}},
		"and alone again after the climb": {Within(4, s), func(l *Limiter) []step {
			return []step{{2 * s, slow(l)}, {2 * s, rateIs(l, 2/1.1)}, {2*s + time.Minute, starts(l, 0, 0, 0, 0, 1100*ms)}}
		}},
		"a pause does not forget the log": {Within(2, s), func(l *Limiter) []step {
			return []step{{2 * s, starts(l, 0, 0)}, {2 * s, pause(l, 500*ms)}, {2 * s, starts(l, 1100*ms)}}
		}},
		"a pause at the start only extends the first silence": {Within(1, s), func(l *Limiter) []step {
			return []step{{0, pause(l, 500*ms)}, {0, starts(l, 1100*ms)}}
		}},
		"without a rate the log is left": {&Limiter{log: &startLog{limit: 20, window: s}}, func(l *Limiter) []step {
			return []step{{s, burst(l, 20)}, {s, starts(l, 1100*ms)}, {2100 * ms, rateIs(l, 0)}}
		}},
	} {
		t.Run(name, func(t *testing.T) { script(t, test.l, test.steps(test.l)...) })
	}
}

func burst(l *Limiter, n int) func(*testing.T) { return starts(l, make([]time.Duration, n)...) }
