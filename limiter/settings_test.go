package limiter

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettings(t *testing.T) {
	within := func(limit int, window time.Duration, change func(*Limiter)) *Limiter {
		l := Within(limit, window)
		change(l)
		return l
	}
	leave := func(*Limiter) {}
	for _, test := range []struct {
		l    *Limiter
		want string // all of these words; "": in order
	}{
		{nil, "nil"},
		{&Limiter{PerSecond: -1}, "PerSecond -1 0"},
		{&Limiter{PerSecond: math.NaN()}, "PerSecond NaN"},
		{&Limiter{PerSecond: math.Inf(1)}, "PerSecond +Inf"},
		{&Limiter{PerSecond: math.Inf(-1)}, "PerSecond -Inf"},
		{&Limiter{PerSecond: 10, Floor: -1}, "Floor -1 10"},
		{&Limiter{PerSecond: 10, Floor: math.NaN()}, "Floor NaN 10"},
		{&Limiter{PerSecond: 10, Floor: math.Inf(1)}, "Floor +Inf 10"},
		{&Limiter{PerSecond: 10, Floor: math.Inf(-1)}, "Floor -Inf 10"},
		{&Limiter{PerSecond: 10, Floor: 11}, "Floor 11 10"},
		{&Limiter{Floor: 1}, "Floor 1 0"},
		{&Limiter{PerSecond: 10, Burst: -3}, "Burst -3 0"},
		{&Limiter{Burst: -3}, "Burst -3 0"},
		{&Limiter{PerSecond: 10, Recovery: -time.Second}, "Recovery -1s 0"},
		{Within(0, time.Second), "Within limit 0 1 1000000"},
		{Within(-5, time.Second), "Within limit -5 1 1000000"},
		{Within(1_000_001, time.Second), "Within limit 1000001 1 1000000"},
		{Within(math.MaxInt, time.Second), "Within limit 1000000"},
		{Within(math.MinInt, 0), "Within limit 1000000"},
		{Within(10, 0), "Within window 0 1m0s"},
		{Within(0, 0), "Within limit 0 1 1000000"},
		{Within(10, -jitter), "Within window -100ms 1m0s"},
		{Within(10, time.Minute+1), "Within window 1m0.000000001s 1m0s"},
		{Within(10, math.MaxInt64), "Within window 1m0s"},
		{within(10, time.Second, func(l *Limiter) { l.PerSecond = -1 }), "PerSecond -1"},

		{&Limiter{}, ""},
		{&Limiter{Burst: 5, Recovery: time.Second}, ""},
		{&Limiter{PerSecond: 10, Floor: 10}, ""},
		{&Limiter{PerSecond: math.MaxFloat64, Burst: math.MaxInt, Recovery: 1}, ""},
		{&Limiter{PerSecond: math.SmallestNonzeroFloat64, Recovery: math.MaxInt64}, ""},
		{&Limiter{PerSecond: 1e-300}, ""},
		{Within(1, 1), ""},
		{Within(1, time.Minute), ""},
		{Within(1_000_000, time.Minute), ""},
		{Within(1_000_000, 1), ""},
		{within(100, time.Second, leave), ""},
		{within(100, time.Second, func(l *Limiter) { l.PerSecond = 0 }), ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err := test.l.Check()
			for word := range strings.FieldsSeq(test.want) {
				if err == nil || !strings.HasPrefix(err.Error(), "limiter: ") || !strings.Contains(err.Error(), word) {
					t.Fatalf("Check of %v says %v, want all of %q", test.l, err, test.want)
				}
			}
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			// Everything may be called; the answers are those of Check.
			for range 3 {
				test.l.Slow()
				waited := test.l.Wait(ctx)
				if err != nil && (waited == nil || waited.Error() != err.Error()) {
					t.Fatalf("Wait says %v, Check %v", waited, err)
				}
				if err == nil && waited != nil && !errors.Is(waited, context.DeadlineExceeded) {
					t.Fatal(waited)
				}
				test.l.Pause(time.Now().Add(time.Second))
				if got := test.l.Rate(); err != nil && got != 0 || !(got >= 0) || math.IsInf(got, 0) {
					t.Fatalf("rate %v", got)
				}
			}
		})
	}
}

// Settings that were not in order do not begin the life of the bucket.
func TestSettingsCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{PerSecond: -10}
		if l.Check() == nil {
			t.Fatal("a negative rate passed")
		}
		time.Sleep(time.Hour)
		l.PerSecond = 10
		starts(l, 100*ms, 200*ms)(t)
	})
}
