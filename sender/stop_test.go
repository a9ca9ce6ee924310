package sender_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The end of Run's context lets calls finish for five seconds, within their timeouts. What answers
// is recorded. A call that was cut off is not charged.
func TestEndOfRunLetsCallsFinish(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		once         bool
		timeout      time.Duration
		took         time.Duration
		ends         string
	}{
		{"answers", "3s+ok", false, time.Minute, 2 * time.Second, "delivered 2, pending c d"},
		{"answers, at most once", "3s+ok", true, time.Minute, 2 * time.Second, "delivered 2, pending c d"},
		{"never answers", "timeout", false, time.Minute, 5 * time.Second, "delivered 0, pending a b c d"},
		{"times out", "timeout", false, 2 * time.Second, time.Second, "delivered 0, pending a b c d"},
		{"hangs", "2h+ok", false, time.Minute, 5500 * time.Millisecond, "delivered 0, pending a b c d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.Concurrency, l.options.Timeout, l.options.AtMostOnce = 2, c.timeout, c.once
				l.answer("*", c.answer)
				l.put("a b c d")
				l.make()
				ctx, cancel := context.WithCancel(l.Context())
				time.AfterFunc(time.Second, cancel)
				if err := l.s.Run(ctx); err != nil {
					l.Fatal(err)
				}
				if took := time.Since(l.start) - time.Second; took != c.took {
					l.Errorf("Run took %v to end, want %v", took, c.took)
				}
				l.ends(c.ends)
				for _, it := range l.Pending() {
					if charged := c.timeout == 2*time.Second && strings.Contains("a b", string(it.Payload)); it.Failures != 0 != charged {
						l.Errorf("%s has %d failures", it.Payload, it.Failures)
					}
				}
			})
		})
	}
}

// Stop gives the time that its context has, whatever happens to Run's context afterwards.
func TestStopGivesTime(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Second, 20 * time.Second, time.Hour} {
		in(t, func(l *lane) {
			l.answer("*", "timeout")
			l.put("a")
			l.run()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(l.Context(), grace)
			defer cancel()
			l.s.Stop(ctx)
			l.s.Stop(noContext)
			if err := l.stop(); err != nil {
				l.Fatal(err)
			}
			if took, want := time.Since(l.start), min(grace, 30*time.Second); took != want {
				l.Errorf("with %v Run took %v to end, want %v", grace, took, want)
			}
		})
	}
}

// Stop before Run leaves nothing to do.
func TestStopBeforeRun(t *testing.T) {
	in(t, func(l *lane) {
		l.put("a")
		l.make()
		l.s.Stop(l.Context())
		if err := l.s.Run(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.ends("delivered 0, pending a")
	})
}

// LastFlush starts nothing that would not be finished by its deadline, and returns when that leaves
// nothing to do. Calls that took long lately count.
func TestLastFlushKeepsToItsDeadline(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		once   bool
		every  time.Duration // between tokens; 0: no limiter
		grace  time.Duration
		ends   string
		took   time.Duration
	}{
		{"time for two more", "300ms+ok", false, 0, time.Second, "delivered 6, pending g h", 850 * time.Millisecond},
		{"at most once", "300ms+ok", true, 0, time.Second, "delivered 6, pending g h", 850 * time.Millisecond},
		{"time for none", "300ms+ok", false, 0, 400 * time.Millisecond, "delivered 2, pending c d e f g h", 250 * time.Millisecond},
		{"time for all", "300ms+ok", false, 0, time.Minute, "delivered 8", 1150 * time.Millisecond},
		{"the token comes too late", "10ms+ok", false, 3 * time.Second, 2 * time.Second, "delivered 1, pending b c d e f g h", 1937500 * time.Microsecond},
		{"no answer has come yet", "1600ms+ok", false, 500 * time.Millisecond, 3 * time.Second, "delivered 3, pending d e f g h", 2600 * time.Millisecond},
		{"a few were slow", "700ms+ok 700ms+ok 300ms+ok", false, 0, 1000 * time.Millisecond, "delivered 4, pending e f g h", 200 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			flushes(t, func(l *lane) {
				l.options.Concurrency, l.options.AtMostOnce = 2, c.once
				if c.every > 0 {
					l.options.Concurrency, l.limiter = 8, &metered{interval: c.every}
				}
				l.answer("*", c.answer)
				l.put("a b c d e f g h")
				l.run()
				l.wait(50 * time.Millisecond)
				if strings.HasPrefix(c.name, "a few") {
					l.wait(750 * time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(l.Context(), c.grace)
				defer cancel()
				start := time.Now()
				err := l.s.LastFlush(ctx)
				if took := time.Since(start); took > c.took+50*time.Millisecond {
					l.Errorf("LastFlush took %v, want %v: %v", took, c.took, err)
				}
				if late := strings.Contains(c.ends, "pending"); late != (err != nil && strings.Contains(err.Error(), "too little time")) {
					l.Errorf("LastFlush: %v", err)
				}
				l.s.Stop(ctx)
				if err := l.stop(); err != nil || time.Since(start) > c.grace {
					l.Errorf("after %v: %v", time.Since(start), err)
				}
				l.ends(c.ends)
			})
		})
	}
}

// One call that hangs while others answer does not keep LastFlush from sending the rest.
func TestLastFlushBesideACallThatHangs(t *testing.T) {
	flushes(t, func(l *lane) {
		l.options.Concurrency = 2
		l.answer("a", "timeout")
		l.answer("*", "300ms+ok")
		l.put("a b c d e f")
		l.run()
		l.wait(20 * time.Second)
		l.put("g h i")
		ctx, cancel := context.WithTimeout(l.Context(), 5*time.Second)
		defer cancel()
		l.s.LastFlush(ctx)
		l.s.Stop(ctx)
		if err := l.stop(); err != nil {
			l.Error(err)
		}
		l.ends("delivered 8, pending a")
	})
}

// What is recorded too late is not sent any more, and is not dead.
func TestLastFlushAtMostOnceWithASlowRecord(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &slowRecord{Memory: &l.Memory, takes: 300 * time.Millisecond}
		l.options.Concurrency, l.options.AtMostOnce = 2, true
		l.answer("*", "300ms+ok")
		l.put("a b c d e f")
		l.run()
		ctx, cancel := context.WithTimeout(l.Context(), 1200*time.Millisecond)
		defer cancel()
		l.s.LastFlush(ctx)
		l.s.Stop(ctx)
		if err := l.stop(); err != nil {
			l.Error(err)
		}
		l.ends("delivered 2, pending c d e f")
	})
}

// LastFlush returns at once if the lane is silent beyond the time for another request, and waits for a
// probe that fits.
func TestLastFlushOfASilentLane(t *testing.T) {
	for _, c := range []struct {
		answer string
		grace  time.Duration
		took   time.Duration
		ends   string
	}{
		{"500ms+429:10s ok", 9 * time.Second, 0, "delivered 0, pending a b"},
		{"500ms+429:10s ok", 9500 * time.Millisecond, 0, "delivered 0, pending a b"}, // the answer would come too late
		{"500ms+429:10s ok", 20 * time.Second, 9 * time.Second, "delivered 2"},
		{"403 403 403 403 403 ok", 10 * time.Second, 7 * time.Second, "delivered 0, pending a b"},
		{"403 403 ok", time.Minute, 2 * time.Second, "delivered 2"},
	} {
		t.Run(c.answer+" "+c.grace.String(), func(t *testing.T) {
			flushes(t, func(l *lane) {
				l.options.Concurrency = 1
				l.answer("*", c.answer)
				l.put("a b")
				l.run()
				l.wait(1500 * time.Millisecond)
				ctx, cancel := context.WithTimeout(l.Context(), c.grace)
				defer cancel()
				start := time.Now()
				err := l.s.LastFlush(ctx)
				if took := time.Since(start); took > c.took+500*time.Millisecond {
					l.Errorf("LastFlush took %v: %v", took, err)
				}
				l.s.Stop(ctx)
				if err := l.stop(); err != nil {
					l.Error(err)
				}
				l.ends(c.ends)
			})
		})
	}
}

// A nil context is an error, and Run can still be called.
func TestNilContext(t *testing.T) {
	in(t, func(l *lane) {
		l.put("a")
		l.make()
		var none context.Context
		for op, err := range map[string]error{"Run": l.s.Run(none), "Flush": l.s.Flush(none), "LastFlush": l.s.LastFlush(none)} {
			if err == nil || !strings.Contains(err.Error(), "nil") {
				t.Errorf("%s: %v", op, err)
			}
		}
		l.begin()
		l.wait(time.Second)
		l.ends("delivered 1")
	})
}
