package sender_test

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// OnOutcome hears of everything after it was recorded, may put new items, and may panic.
func TestOnOutcome(t *testing.T) {
	in(t, func(l *lane) {
		var heard atomic.Int64
		l.options.MaxAttempts = 1
		l.options.OnOutcome = func(o sender.Outcome, d time.Duration) {
			heard.Add(1)
			switch name := string(o.Item.Payload); {
			case name == "a":
				if o.Verdict != sender.Delivered || o.Err != nil || d != time.Second || l.Counts().Delivered == 0 {
					t.Errorf("a: %v after %v, %v; delivered so far: %d", o.Verdict, d, o.Err, l.Counts().Delivered)
				}
				l.put("child")
			case name == "b":
				if o.Verdict != sender.Dead || o.Err == nil || len(l.Dead()) != 1 {
					t.Errorf("b: %v, %v", o.Verdict, o.Err)
				}
				panic("OnOutcome")
			case name == "child":
				panic("OnOutcome")
			}
		}
		l.answer("a", "1s+ok")
		l.answer("b", "500")
		l.put("a b")
		l.run()
		l.wait(time.Minute)
		l.ends("delivered 2, dead b")
		if n := l.logged("callback=OnOutcome"); heard.Load() != 3 || n != 1 {
			l.Fatalf("OnOutcome heard %d outcomes, its panics are logged %d times; want 3 and 1", heard.Load(), n)
		}
	})
}

func TestOnOutcomeHearsReleased(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.OnOutcome = l.hear
		l.answer("a", "2s+429:5s ok")
		l.put("a")
		l.run()
		l.wait(time.Minute)
		if want := []string{"a released 2s", "a delivered 0s"}; !slices.Equal(l.told(), want) {
			l.Fatalf("OnOutcome heard %q, want %q", l.told(), want)
		}
	})
}

func TestBackoffExtremes(t *testing.T) {
	for name, c := range map[string]struct {
		curve       func(int) time.Duration
		least, most time.Duration
	}{
		"zero":     {steady(0), time.Millisecond, time.Second},
		"negative": {steady(math.MinInt64), time.Millisecond, time.Second},
		"huge":     {steady(math.MaxInt64), 365 * 24 * time.Hour, 365 * 24 * time.Hour},
		"panic":    {func(int) time.Duration { panic("curve") }, time.Second, 1250 * time.Millisecond},
		"none":     {nil, time.Second, 1250 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.Backoff = c.curve
				l.answer("a", "500 2h+ok")
				l.put("a")
				l.run()
				synctest.Wait()
				if wait := time.Until(l.item("a").Due); wait < c.least || wait > c.most {
					l.Fatalf("the item waits %v, want %v to %v", wait, c.least, c.most)
				}
				if n := l.logged("Backoff panicked"); (n == 1) != (name == "panic") {
					l.Fatalf("%d lines about a panic", n)
				}
			})
		})
	}
}

// The backoff grows with all failures. MaxAttempts counts only charged failures.
func TestBackoffCountsFailures(t *testing.T) {
	in(t, func(l *lane) {
		var asked []int
		l.options.Concurrency = 1
		l.options.Backoff = func(n int) time.Duration { asked = append(asked, n); return time.Second }
		l.answer("*", "500")
		l.put("a")
		l.run()
		l.wait(4500 * time.Millisecond)
		if want := []int{1, 2, 3, 4, 5}; !slices.Equal(asked, want) {
			l.Fatalf("Backoff was asked for %v, want %v", asked, want)
		}
		if it := l.item("a"); it.Attempts != 1 || it.Failures != 5 || !it.FailedAt.Equal(l.start.Add(4*time.Second)) {
			l.Fatalf("after five failures, alone: %+v", it)
		}
	})
}

func TestMaxAttempts(t *testing.T) {
	for max, want := range map[int]string{1: "dead a", 2: "dead a", 0: "dead a", -1: "pending a", math.MinInt: "pending a", math.MaxInt: "pending a"} {
		in(t, func(l *lane) {
			l.options.MaxAttempts = max
			l.options.Backoff = steady(time.Second)
			l.answer("a", "500")
			l.put("a")
			l.run()
			l.wait(500 * time.Millisecond)
			for range 30 {
				l.put("good")
				l.wait(time.Second)
			}
			l.ends("delivered 30, " + want)
			if count, _ := l.sent("a"); max > 0 && max < 3 && count != max || max == 0 && count != 20 {
				l.Fatalf("MaxAttempts %d: sent %d times", max, count)
			}
		})
	}
}
