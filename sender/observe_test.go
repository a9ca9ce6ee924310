package sender_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

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
		if n := l.logged("callback=observer"); n != 2 {
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

// told is what the tests below look at in an outcome.
type told struct {
	name    string
	verdict sender.Verdict
	request uint64
	started time.Duration // since the start; -1: zero
	took    time.Duration
}

// observed runs a lane for an hour and returns its outcomes, in order.
func observed(l *lane) []told {
	l.Helper()
	var mu sync.Mutex
	var list []told
	if l.s == nil {
		l.make()
	}
	l.s.Observe(func(o sender.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		started := time.Duration(-1)
		if !o.Started.IsZero() {
			started = o.Started.Sub(l.start)
		}
		list = append(list, told{string(o.Item.Payload), o.Verdict, o.Request, started, o.Took})
	})
	l.begin()
	l.wait(time.Hour)
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(list)
}

func expectTold(l *lane, got []told, want ...told) {
	l.Helper()
	if !slices.Equal(got, want) {
		l.Fatalf("told\n\t%v\nwant\n\t%v", got, want)
	}
}

// Every outcome names its request, when it began and how long it took. What was not sent has none.
func TestOutcomeNamesItsRequest(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.Backoff = steady(time.Second)
		l.answer("a", "1s+429:10s 2s+ok") // released after a pause, then the probe
		l.answer("b", "3s+500 ok")
		l.put("a b")
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("late"), Expires: l.start.Add(time.Second)})
		got := observed(l)
		slices.SortStableFunc(got, func(x, y told) int { return strings.Compare(x.name, y.name) })
		expectTold(l, got,
			told{"a", sender.Released, 1, 0, time.Second},
			told{"a", sender.Delivered, 2, 11 * time.Second, 2 * time.Second},
			told{"b", sender.Retry, 3, 13 * time.Second, 3 * time.Second},
			told{"b", sender.Delivered, 4, 17 * time.Second, 0},
			told{"late", sender.Expired, 0, -1, 0},
		)
		if n := l.s.Status().Requests; n != 4 {
			l.Fatalf("Status counts %d requests, want 4", n)
		}
	})
}

// The items of a batch share the number of their request.
func TestOutcomesOfABatch(t *testing.T) {
	in(t, func(l *lane) {
		l.batch = 2
		l.options.Concurrency = 1
		l.answer("*", "2s+ok") // one after the other
		l.put("a b c")
		expectTold(l, observed(l),
			told{"a", sender.Delivered, 1, 0, 4 * time.Second},
			told{"b", sender.Delivered, 1, 0, 4 * time.Second},
			told{"c", sender.Delivered, 2, 4 * time.Second, 2 * time.Second},
		)
	})
}

// A batch that is refused as a whole has no outcome. Its parts are requests of their own.
func TestOutcomesOfASplitBatch(t *testing.T) {
	in(t, func(l *lane) {
		l.batch = 2
		l.options.Concurrency = 1
		l.answer("*", "1s+split 2s+ok")
		l.answer("a", "1s+split 2s+ok")
		l.put("a b")
		expectTold(l, observed(l),
			told{"a", sender.Delivered, 2, 2 * time.Second, 2 * time.Second},
			told{"b", sender.Delivered, 3, 4 * time.Second, 2 * time.Second},
		)
	})
}

// With AtMostOnce the request starts after the record.
func TestOutcomesAtMostOnce(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &slowRecord{Memory: &l.Memory, takes: 2 * time.Second}
		l.options.Concurrency = 1
		l.options.AtMostOnce = true
		l.answer("a", "4s+500")
		l.answer("b", "1s+503 ok")
		l.options.Backoff = steady(time.Second)
		l.put("a b")
		got := observed(l)
		expectTold(l, got,
			told{"a", sender.Dead, 1, 2 * time.Second, 4 * time.Second},
			told{"b", sender.Retry, 2, 8 * time.Second, time.Second},
			told{"b", sender.Delivered, 3, 12 * time.Second, 0},
		)
	})
}

// Items that wait for their verdict, because they were refused for good, keep their request.
func TestOutcomesOfRefusals(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 2
		l.answer("a", "1s+400")
		l.answer("b", "3s+ok")
		l.answer("c", "3s+ok")
		l.put("a b c")
		got := observed(l)
		slices.SortFunc(got, func(x, y told) int { return strings.Compare(x.name, y.name) })
		numbers := []uint64{got[0].request, got[1].request, got[2].request}
		slices.Sort(numbers)
		if !slices.Equal(numbers, []uint64{1, 2, 3}) {
			l.Fatalf("the requests are numbered %d", numbers)
		}
		for i := range got {
			got[i].request = 0
		}
		expectTold(l, got,
			told{"a", sender.Dead, 0, 0, time.Second},
			told{"b", sender.Delivered, 0, 0, 3 * time.Second},
			told{"c", sender.Delivered, 0, time.Second, 3 * time.Second},
		)
	})
}
