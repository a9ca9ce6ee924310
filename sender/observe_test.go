package sender_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Observers hear what OnOutcome hears, after it and after the record, from Observe until stop.
func TestObserve(t *testing.T) {
	in(t, func(l *lane) {
		var mu sync.Mutex
		var heard []string
		by := func(name string) func(sender.Outcome) {
			return func(o sender.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				if o.Verdict == sender.Delivered && l.Counts().Delivered == 0 {
					t.Errorf("%s hears of %s before the record", name, o.Item.Payload)
				}
				heard = append(heard, fmt.Sprintf("%s %s %v %v", name, o.Item.Payload, o.Verdict, o.Took))
			}
		}
		l.options.Concurrency = 1
		l.options.OnOutcome = func(o sender.Outcome, _ time.Duration) { by("option")(o) }
		l.make()
		stopFirst := l.s.Observe(by("first"))
		l.answer("a", "1s+500 2s+ok")
		l.options.Backoff = steady(time.Second)
		l.put("a")
		l.begin()
		l.wait(1500 * time.Millisecond)
		stopSecond := l.s.Observe(by("second"))
		l.wait(time.Minute)
		stopFirst()
		stopFirst()
		l.put("b")
		l.wait(time.Minute)
		stopSecond()
		l.s.Observe(nil)()
		l.put("c")
		l.wait(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		want := []string{
			"option a retry 1s", "first a retry 1s",
			"option a delivered 2s", "first a delivered 2s", "second a delivered 2s",
			"option b delivered 0s", "second b delivered 0s",
			"option c delivered 0s",
		}
		if !slices.Equal(heard, want) {
			l.Fatalf("heard\n\t%q\nwant\n\t%q", heard, want)
		}
	})
}

// An observer may stop itself, and its panics harm nobody; the first of each is logged.
func TestObserverPanicsAndStops(t *testing.T) {
	in(t, func(l *lane) {
		var once, always, quiet atomic.Int64
		l.make()
		var stop func()
		stop = l.s.Observe(func(sender.Outcome) {
			once.Add(1)
			stop()
			panic("first")
		})
		l.s.Observe(func(sender.Outcome) { always.Add(1); panic("second") })
		l.s.Observe(func(sender.Outcome) { quiet.Add(1) })
		l.options.Concurrency = 1
		l.begin()
		for range 3 {
			l.put("a")
			l.wait(time.Second)
		}
		l.ends("delivered 3")
		if once.Load() != 1 || always.Load() != 3 || quiet.Load() != 3 {
			l.Errorf("heard %d, %d and %d outcomes; want 1, 3 and 3", once.Load(), always.Load(), quiet.Load())
		}
		if n := l.logged("an observer panicked"); n != 2 {
			l.Errorf("%d lines about panics, want one for each observer that panics", n)
		}
	})
}

// Observers come and go while outcomes are told: one that stays misses none, and those that have gone
// hear nothing more.
func TestObserversComeAndGo(t *testing.T) {
	in(t, func(l *lane) {
		l.make()
		var stays, gone atomic.Int64
		l.s.Observe(func(sender.Outcome) { stays.Add(1) })
		l.begin()
		var passing sync.WaitGroup
		for range 8 {
			passing.Go(func() {
				for range 50 {
					stop := l.s.Observe(func(sender.Outcome) { gone.Add(1) })
					l.put("x y")
					time.Sleep(time.Millisecond)
					stop()
				}
			})
		}
		passing.Wait()
		synctest.Wait()
		heard := gone.Load()
		l.put("z")
		l.wait(time.Second)
		if stays.Load() != 801 || heard == 0 || gone.Load() != heard {
			l.Fatalf("the one that stays heard %d outcomes of 801; the others %d, and %d after they had gone", stays.Load(), heard, gone.Load()-heard)
		}
	})
}
