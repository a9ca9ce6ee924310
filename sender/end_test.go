package sender_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRunOnce(t *testing.T) {
	in(t, func(l *lane) {
		l.run()
		synctest.Wait()
		if err := l.s.Run(l.Context()); err == nil {
			l.Fatal("Run ran twice at once")
		}
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		if err := l.s.Run(l.Context()); err == nil {
			l.Fatal("Run ran twice")
		}
	})
}

// An ended context sends nothing, and Run returns.
func TestRunWithEndedContext(t *testing.T) {
	in(t, func(l *lane) {
		l.put("a")
		l.make()
		ctx, cancel := context.WithCancel(l.Context())
		cancel()
		if err := l.s.Run(ctx); err != nil {
			l.Fatal(err)
		}
		l.wants("")
		l.ends("delivered 0, pending a")
	})
}

// A deadline of Run's context is no timeout of the requests that it ends.
func TestRunWithDeadline(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("*", "timeout")
		l.put("a b")
		l.make()
		ctx, cancel := context.WithTimeout(l.Context(), time.Second)
		defer cancel()
		if err := l.s.Run(ctx); err != nil {
			l.Fatal(err)
		}
		l.ends("delivered 0, pending a b")
		for _, it := range l.Pending() {
			if it.Attempts+it.Failures != 0 {
				l.Fatalf("the end of Run was charged: %+v", it)
			}
		}
	})
}

// When Run is stopped and calls have no time to finish, they are cancelled; Run leaves
// the others after half a second.
func TestEndOfRun(t *testing.T) {
	for _, c := range []struct {
		name, answers string
		took          time.Duration
		ends          string
	}{
		{"obedient", "timeout", 0, "delivered 1, pending a/1 b a/2 c"},
		{"slow", "10s+400ms+ok", 400 * time.Millisecond, "delivered 3, pending a/2 c"},
		{"hanging", "1m+ok", 500 * time.Millisecond, "delivered 1, pending a/1 b a/2 c"},
		{"hanging after its timeout", "1h+ok", 0, "delivered 1, pending a/1 b a/2 c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.Concurrency = 2
				l.answer("*", c.answers)
				l.answer("first", "ok")
				l.put("first a/1 b a/2 c")
				l.run()
				l.wait(10 * time.Second)
				if c.answers == "1h+ok" {
					l.wait(time.Minute)
				}
				start := time.Now()
				if err := l.stop(); err != nil {
					l.Fatalf("Run: %v", err)
				}
				if took := time.Since(start); took != c.took {
					l.Fatalf("Run took %v to end, want %v", took, c.took)
				}
				l.ends(c.ends)
				for _, it := range l.Pending() {
					if it.Attempts != 0 || it.Failures != 0 {
						l.Fatalf("the end of Run was charged to %s: %+v", it.Payload, it)
					}
				}
			})
		})
	}
}

// What is left of a batch that was split is given back.
func TestEndOfRunWithPieces(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.batch = 4
		l.answer("a", "split 429:1h")
		l.put("a b c d")
		l.run()
		l.wait(time.Minute)
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		if c := l.Counts(); c.InFlight != 0 {
			l.Fatalf("%d items are still held", c.InFlight)
		}
		l.wants("0s a+b+c+d split+ok\n0s a+b 429:1h+ok")
		l.ends("delivered 1, pending a c d")
	})
}

// A Run that ends while the queue fails tries once more, and returns the reason.
func TestEndOfRunWhileSettleFails(t *testing.T) {
	for fails, want := range map[int]string{1: "delivered 1", 1000: "delivered 0, pending a"} {
		in(t, func(l *lane) {
			full := errors.New("disk full")
			l.put("a")
			l.FailNext(fails, full, false)
			l.run()
			l.wait(100 * time.Millisecond)
			if err := l.stop(); errors.Is(err, full) != (fails > 1) || err != nil && !errors.Is(err, full) {
				l.Fatalf("Run: %v", err)
			}
			l.ends(want)
		})
	}
}
