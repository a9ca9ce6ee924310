package limiter

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A meter drives a Limiter as hard as it can and notes each start with the setting in force.
type meter struct {
	*Limiter
	mu     sync.Mutex
	limit  int
	window time.Duration
	starts []metered
}

type metered struct {
	at     time.Time
	limit  int
	window time.Duration
}

// drive starts workers until ctx ends.
func (m *meter) drive(ctx context.Context, workers *sync.WaitGroup) {
	for range 4 {
		workers.Go(func() {
			for m.Wait(ctx) == nil {
				m.mu.Lock()
				m.starts = append(m.starts, metered{time.Now(), m.limit, m.window})
				m.mu.Unlock()
			}
		})
	}
}

// set changes the rate. No start is noted meanwhile with the wrong setting: in a bubble, time stands
// still until all workers sleep.
func (m *meter) set(t *testing.T, limit int, window time.Duration) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.SetRate(limit, window); err != nil {
		t.Fatal(err)
	}
	m.limit, m.window = limit, window
}

// check judges every start: the window that ends with it, both its ends included and longer by what
// the network may do, holds no more than the limit in force.
func (m *meter) check(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.starts {
		n := 0
		for j := i; j >= 0 && s.at.Sub(m.starts[j].at) < s.window+jitter; j-- {
			n++
		}
		if n > s.limit {
			t.Fatalf("start %d: %d within %v, %d are allowed", i, n, s.window, s.limit)
		}
	}
}

// between counts the starts of a span.
func (m *meter) between(from, to time.Time) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.starts {
		if !s.at.Before(from) && s.at.Before(to) {
			n++
		}
	}
	return n
}

// No window that holds a start after a change exceeds the new limit, whatever was set before: lower,
// higher, other windows, and there and back.
func TestSetRateKeepsEveryWindow(t *testing.T) {
	type setting struct {
		limit  int
		window time.Duration
	}
	for name, list := range map[string][]setting{
		"lower":          {{100, time.Second}, {20, time.Second}},
		"raise":          {{20, time.Second}, {100, time.Second}},
		"back and forth": {{100, time.Second}, {10, time.Second}, {100, time.Second}, {12, time.Second}, {100, time.Second}},
		"longer window":  {{100, time.Second}, {300, 10 * time.Second}, {1000, 10 * time.Second}},
		"shorter window": {{300, 10 * time.Second}, {40, time.Second}, {400, 10 * time.Second}},
		"log alone":      {{50, time.Second}, {3, time.Second}, {50, time.Second}, {5, 4 * time.Second}, {9, time.Second}},
	} {
		for _, after := range []time.Duration{50 * ms, 300 * ms, 1500 * ms, 12 * time.Second} {
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					first := list[0]
					m := &meter{Limiter: Within(first.limit, first.window), limit: first.limit, window: first.window}
					ctx, cancel := context.WithCancel(t.Context())
					var workers sync.WaitGroup
					m.drive(ctx, &workers)
					time.Sleep(12*time.Second + 137*time.Microsecond) // no start comes at the instant of a change
					for _, s := range list[1:] {
						m.set(t, s.limit, s.window)
						time.Sleep(after)
					}
					time.Sleep(12 * time.Second)
					cancel()
					workers.Wait()
					m.check(t)
					// It is not kept by sending nothing.
					last := list[len(list)-1]
					end := time.Now()
					perSecond := float64(m.between(end.Add(-8*time.Second), end)) / 8
					if set := float64(last.limit) / last.window.Seconds(); perSecond < 0.6*set {
						t.Errorf("%.1f a second in the end, %v are set", perSecond, set)
					}
				})
			})
		}
	}
}

// The same with settings by chance.
func TestSetRateByChance(t *testing.T) {
	dice := dice(t)
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			pick := func() (int, time.Duration) {
				return 1 + dice.IntN(150), time.Duration(1+dice.IntN(30)) * 100 * ms
			}
			m := new(meter)
			m.limit, m.window = pick()
			m.Limiter = Within(m.limit, m.window)
			ctx, cancel := context.WithCancel(t.Context())
			var workers sync.WaitGroup
			m.drive(ctx, &workers)
			for range 12 {
				time.Sleep(time.Duration(dice.Int64N(int64(4 * time.Second))))
				limit, window := pick()
				m.set(t, limit, window)
			}
			time.Sleep(5 * time.Second)
			cancel()
			workers.Wait()
			m.check(t)
		})
	}
}

// A call that waits already goes by the new rate, and so does WaitLast.
func TestSetRateWakes(t *testing.T) {
	for name, wait := range map[string]func(*Limiter, context.Context) error{"Wait": (*Limiter).Wait, "WaitLast": (*Limiter).WaitLast} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &Limiter{PerSecond: 0.001}
				go func() {
					time.Sleep(10 * time.Second)
					if err := l.SetRate(100, time.Second); err != nil {
						t.Error(err)
					}
				}()
				begin := time.Now()
				if err := wait(l, t.Context()); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(begin); d < 10*time.Second || d > 11*time.Second {
					t.Errorf("waited %v; the rate was raised after 10s", d)
				}
			})
		})
	}
}

// A Limiter without a limit gets one, also for calls that wait for the end of a pause.
func TestSetRateOnTheZeroLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		l.Pause(time.Now().Add(5 * time.Second))
		m := &meter{Limiter: l, limit: 20, window: time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		m.drive(ctx, &workers)
		begin := time.Now()
		time.Sleep(time.Second)
		m.set(t, 20, time.Second)
		time.Sleep(20 * time.Second)
		cancel()
		workers.Wait()
		m.check(t)
		if n := m.between(begin, begin.Add(5*time.Second)); n != 0 {
			t.Errorf("%d starts during the pause", n)
		}
		if n := m.between(begin.Add(5*time.Second), time.Now()); n < 240 {
			t.Errorf("%d starts in 16s at 18 a second", n)
		}
	})
}

// A pause and a slow-down survive the change; a call in each tenth of a second starves nobody.
func TestSetRateKeepsPauseAndSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Within(100, time.Second)
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.Slow()
		until := time.Now().Add(10 * time.Second)
		l.Pause(until)
		for _, limit := range []int{1000, 10, 200} {
			if err := l.SetRate(limit, time.Second); err != nil {
				t.Fatal(err)
			}
			share := l.Rate() / l.Limit()
			if math.Abs(share-0.5) > 0.001 || !l.Paused().Equal(until) {
				t.Errorf("at %d: the rate is %.3f of its setting, paused until %v; want half, and %v", limit, share, l.Paused(), until)
			}
		}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if time.Now().Before(until) {
			t.Errorf("a start %v before the end of the pause", time.Until(until))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := &meter{Limiter: Within(10, 10*time.Second), limit: 10, window: 10 * time.Second}
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		m.drive(ctx, &workers)
		begin := time.Now()
		for range 1000 {
			time.Sleep(100 * ms)
			m.set(t, 10, 10*time.Second)
		}
		cancel()
		workers.Wait()
		m.check(t)
		if n := m.between(begin, time.Now()); n < 85 {
			t.Errorf("%d starts in 100s at 0.9 a second", n)
		}
	})
}

// The first silence of Within lasts as the new window wants it.
func TestSetRateDuringTheFirstSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, begin := Within(100, time.Second), time.Now()
		l.Rate()
		if err := l.SetRate(5, 4*time.Second); err != nil {
			t.Fatal(err)
		}
		l.Pause(begin.Add(time.Second))
		l.Resume()
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d < 4*time.Second+jitter {
			t.Errorf("the first start after %v", d)
		}
	})
}

// The silence after the first SetRate of a plain Limiter outlasts a pause that is taken back: nobody
// counted what had started before.
func TestResumeKeepsTheSilenceOfSetRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 100}
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		l.Pause(time.Now().Add(30 * time.Second))
		set := time.Now()
		if err := l.SetRate(5, time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		l.Resume()
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(set); d < time.Minute+jitter {
			t.Errorf("the first start %v after SetRate", d)
		}
	})
}

// Resume ends the pause for those that wait, without a burst, and keeps the lowered rate.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: 10, Burst: 10, Recovery: time.Hour}
		m := &meter{Limiter: l, limit: math.MaxInt, window: time.Second}
		l.Slow()
		l.Pause(time.Now().Add(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		var workers sync.WaitGroup
		m.drive(ctx, &workers)
		time.Sleep(time.Minute)
		resumed := time.Now()
		l.Resume()
		l.Resume()
		if !l.Paused().IsZero() {
			t.Errorf("paused until %v", l.Paused())
		}
		time.Sleep(1050 * ms)
		cancel()
		workers.Wait()
		if n := m.between(resumed, time.Now()); n != 5 {
			t.Errorf("%d starts in a second at 5 a second", n)
		}
		if n := m.between(time.Time{}, resumed); n != 0 {
			t.Errorf("%d starts during the pause", n)
		}
	})
}

func TestLimit(t *testing.T) {
	var none *Limiter
	none.Resume()
	for l, want := range map[*Limiter]float64{none: 0, {}: 0, {PerSecond: 7}: 7, Within(100, time.Second): 90, {PerSecond: -1}: 0} {
		l.Slow()
		if got := l.Limit(); got != want {
			t.Errorf("the limit is %v, want %v", got, want)
		}
	}
}

func TestSetRateBounds(t *testing.T) {
	l := Within(100, time.Second)
	for _, c := range []struct {
		limit  int
		window time.Duration
		want   string
	}{
		{0, time.Second, "SetRate: limit is 0"},
		{maxLimit + 1, time.Second, "SetRate: limit is 1000001"},
		{10, 0, "SetRate: window is 0s"},
		{10, time.Minute + 1, "SetRate: window is 1m0.000000001s"},
	} {
		if err := l.SetRate(c.limit, c.window); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("SetRate(%d, %v): %v, want %q", c.limit, c.window, err, c.want)
		}
	}
	if l.Limit() != 90 {
		t.Errorf("after errors the limit is %v", l.Limit())
	}
	if err := (*Limiter)(nil).SetRate(10, time.Second); err == nil {
		t.Error("a nil Limiter got a rate")
	}
	if err := (&Limiter{PerSecond: -1}).SetRate(10, time.Second); err == nil {
		t.Error("a Limiter with invalid settings got a rate")
	}
}

// What the log has lost is taken to be as late as the earlier limit allowed, not as never.
func TestLogThatGrows(t *testing.T) {
	begin := time.Now()
	g := &startLog{limit: 2, window: time.Second, shortest: time.Second}
	for i := range 3 {
		g.add(begin.Add(time.Duration(i) * 2 * time.Second))
	}
	g.set(6, time.Minute)
	var ago []time.Duration
	for _, at := range slices.Concat(g.starts[g.oldest:], g.starts[:g.oldest]) {
		ago = append(ago, at.Sub(begin))
	}
	if want := []time.Duration{-200 * ms, 900 * ms, 900 * ms, 2 * time.Second, 2 * time.Second, 4 * time.Second}; !slices.Equal(ago, want) {
		t.Errorf("the log is %v, want %v", ago, want)
	}
}

// SetRate may bring a lowered rate below Floor, and the setting too. Slow does not raise it then, and
// it climbs back within Recovery.
func TestSetRateBelowTheFloor(t *testing.T) {
	for _, limit := range []int{60, 40} {
		synctest.Test(t, func(t *testing.T) {
			l := &Limiter{PerSecond: 100, Floor: 50}
			l.Slow() // to 50
			if err := l.SetRate(limit, time.Second); err != nil {
				t.Fatal(err)
			}
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := l.Rate()
			l.Slow()
			if after := l.Rate(); after > before {
				t.Errorf("limit %d: Slow has raised the rate from %v to %v", limit, before, after)
			}
			time.Sleep(time.Minute)
			if got, want := l.Rate(), l.Limit(); got != want {
				t.Errorf("limit %d: after Recovery the rate is %v, want %v", limit, got, want)
			}
		})
	}
}
