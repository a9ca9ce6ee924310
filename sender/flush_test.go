package sender_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// flush calls Flush with a deadline d from now, and returns how long that took.
func (l *lane) flush(d time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	start := time.Now()
	err := l.s.Flush(ctx)
	return time.Since(start), err
}

// flushes runs a test over a Marker, and over a plain queue.
func flushes(t *testing.T, test func(l *lane)) {
	for _, kind := range []string{"marker", "plain"} {
		t.Run(kind, func(t *testing.T) {
			in(t, func(l *lane) {
				if kind == "marker" {
					l.queue = &marking{Memory: &l.Memory, held: make(map[uint64]bool)}
				}
				test(l)
			})
		})
	}
}

func TestFlushWaits(t *testing.T) {
	flushes(t, func(l *lane) {
		l.options.Concurrency = 2
		l.answer("*", "1s+ok")
		l.put("a b c d e")
		l.run()
		took, err := l.flush(time.Minute)
		if err != nil || took < 3*time.Second || took > 3*time.Second+50*time.Millisecond {
			l.Fatalf("Flush took %v, want 3s: %v", took, err)
		}
		l.ends("delivered 5")
		if took, err := l.flush(time.Minute); err != nil || took > 50*time.Millisecond {
			l.Fatalf("Flush of an empty queue took %v: %v", took, err)
		}
	})
}

// What waits for its time, or for another try, is not waited for; nor what stands behind it.
func TestFlushLeavesRetries(t *testing.T) {
	flushes(t, func(l *lane) {
		l.options.Backoff = steady(time.Hour)
		l.answer("k/1", "1s+500 ok")
		l.answer("b", "2s+later:1h ok")
		l.put("k/1 k/2 b c")
		l.run()
		if took, err := l.flush(time.Minute); err != nil || took < 2*time.Second || took > 3*time.Second {
			l.Fatalf("Flush took %v, want 2s: %v", took, err)
		}
		l.ends("delivered 1, pending k/1 k/2 b")
	})
}

// With a Marker, what is put after the call is not waited for.
func TestFlushIgnoresLaterPuts(t *testing.T) {
	in(t, func(l *lane) {
		q := &marking{Memory: &l.Memory, held: make(map[uint64]bool)}
		l.queue = q
		l.options.Concurrency = 1
		l.answer("*", "1s+ok")
		l.put("a b c")
		l.run()
		go func() {
			for range 100 {
				l.put("x y")
				time.Sleep(time.Second)
			}
		}()
		took, err := l.flush(time.Hour)
		if err != nil || took < 3*time.Second || took > 10*time.Second {
			l.Fatalf("Flush took %v, want about 4s: %v", took, err)
		}
		time.Sleep(100 * time.Second)
	})
}

// A Marker is not asked after each of many short requests.
func TestFlushAsksNowAndThen(t *testing.T) {
	in(t, func(l *lane) {
		q := &marking{Memory: &l.Memory, held: make(map[uint64]bool)}
		l.queue = q
		l.options.Concurrency = 1
		l.answer("*", "1ms+ok")
		l.put(strings.Repeat("x ", 500))
		l.run()
		took, err := l.flush(time.Hour)
		if err != nil || took < 500*time.Millisecond || took > 600*time.Millisecond {
			l.Fatalf("Flush took %v, want half a second: %v", took, err)
		}
		if q.asked() > 40 {
			l.Fatalf("the queue was asked %d times in %v", q.asked(), took)
		}
	})
}

// Several may wait at once, each as long as its own items take.
func TestFlushMany(t *testing.T) {
	flushes(t, func(l *lane) {
		l.options.Concurrency = 1
		l.answer("*", "1s+ok")
		l.run()
		var wg sync.WaitGroup
		for i := range 20 {
			l.put("x")
			wg.Go(func() {
				if _, err := l.flush(time.Hour); err != nil {
					l.Error(err)
				}
				if n := l.Counts().Delivered; n <= uint64(i) {
					l.Errorf("Flush returned when %d were delivered, after %d had been put", n, i+1)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		l.ends("delivered 20")
	})
}

// While Flush waits, and at the end of Run, the queue does not gather.
func TestFlushEndsGathering(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &gathering{&l.Memory, make(chan struct{})}
		l.put("a b c")
		l.run()
		l.wait(100 * time.Millisecond)
		l.ends("delivered 0, pending a b c") // sent, and not recorded
		if took, err := l.flush(time.Minute); err != nil || took > 50*time.Millisecond {
			l.Fatalf("Flush took %v: %v", took, err)
		}
		l.ends("delivered 3")
		l.answer("d", "10ms+ok")
		l.put("d")
		if took, err := l.flush(time.Minute); err != nil || took > 100*time.Millisecond {
			l.Fatalf("Flush took %v: %v", took, err)
		}
		l.put("e")
		l.wait(time.Millisecond)
		start := time.Now()
		if err := l.stop(); err != nil || time.Since(start) > 100*time.Millisecond {
			l.Fatalf("Run took %v to end: %v", time.Since(start), err)
		}
		l.ends("delivered 5")
	})
}

// When its context ends, Flush says what was in the way.
func TestFlushSaysWhy(t *testing.T) {
	for _, c := range []struct{ name, answer, why string }{
		{"in flight", "1h+ok", "in flight: 3"},
		{"waiting for a token", "ok", "waits for its turn under the rate limit, requests in flight: 0"},
		{"held", "403", "answer 403"},
		{"paused", "429:25s", "paused until 2000-01-01T00:00:5"}, // the second of two pauses
	} {
		t.Run(c.name, func(t *testing.T) {
			flushes(t, func(l *lane) {
				l.options.Timeout = 2 * time.Hour
				l.options.Concurrency = 3
				l.answer("*", c.answer)
				if strings.HasPrefix(c.name, "waiting") {
					l.limiter = &metered{interval: time.Minute}
				}
				l.put("a b c d")
				l.run()
				ctx, cancel := context.WithCancel(l.Context())
				time.AfterFunc(40*time.Second, cancel)
				err := l.s.Flush(ctx)
				if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), c.why) {
					l.Fatalf("Flush: %v; want it to say %q", err, c.why)
				}
				took, err := l.flush(time.Second)
				silent := c.name == "held" || c.name == "paused"
				if !silent && (took != time.Second || !errors.Is(err, context.DeadlineExceeded)) || silent && (took != 0 || err == nil) {
					l.Fatalf("Flush took %v: %v", took, err)
				}
			})
		})
	}
}

// A call that does not return is not waited for beyond the moment it is abandoned, whatever ctx
// allows.
func TestFlushLeavesAbandonedCalls(t *testing.T) {
	for _, c := range []struct{ name, put, why string }{
		{"some slots", "hangs a b c", ""},
		{"all slots", "hangs hangs hangs a", "3 requests ignore the end of their context, and at most 3 may be in flight"},
	} {
		t.Run(c.name, func(t *testing.T) {
			flushes(t, func(l *lane) {
				l.options.Timeout, l.options.Concurrency = time.Second, 3
				l.answer("hangs", "10h+ok")
				l.put(c.put)
				l.run()
				start := time.Now()
				err := l.s.Flush(l.Context())
				if took := time.Since(start); took > 3*time.Second {
					l.Errorf("Flush took %v", took)
				}
				if (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
					l.Errorf("Flush: %v; want it to say %q", err, c.why)
				}
			})
		})
	}
}

// A pause that outlasts the deadline ends Flush at once: known before, or not.
func TestFlushAndPause(t *testing.T) {
	flushes(t, func(l *lane) {
		l.answer("a", "5s+429:1h ok")
		l.put("a")
		l.run()
		for _, want := range []time.Duration{5 * time.Second, 0} {
			took, err := l.flush(time.Minute)
			if took != want || err == nil || !strings.Contains(err.Error(), "paused until 2000-01-01T01:00:05") {
				l.Fatalf("Flush took %v: %v; want it to name the pause after %v", took, err, want)
			}
		}
		if took, err := l.flush(2 * time.Hour); err != nil || took < time.Hour || took > time.Hour+time.Second {
			l.Fatalf("Flush took %v, want the pause: %v", took, err)
		}
		l.ends("delivered 1")
	})
}

func TestFlushWithoutRun(t *testing.T) {
	flushes(t, func(l *lane) {
		l.make()
		if took, err := l.flush(time.Hour); err == nil || took != time.Second {
			l.Fatalf("before Run, Flush took %v: %v", took, err)
		}
		l.answer("a", "1h+ok")
		l.put("a")
		l.begin()
		var wg sync.WaitGroup
		wg.Go(func() {
			if took, err := l.flush(time.Hour); err == nil || took > time.Minute {
				l.Errorf("when Run ends, Flush took %v: %v", took, err)
			}
		})
		l.wait(time.Second)
		l.stop()
		wg.Wait()
		if took, err := l.flush(time.Hour); err == nil || took != 0 {
			l.Fatalf("after Run, Flush took %v: %v", took, err)
		}
	})
}

func TestFlushWhenTheQueueFails(t *testing.T) {
	in(t, func(l *lane) {
		broken := errors.New("broken")
		l.queue = &marking{Memory: &l.Memory, held: make(map[uint64]bool), err: broken}
		l.run()
		if took, err := l.flush(time.Hour); !errors.Is(err, broken) || took > time.Second {
			l.Fatalf("Flush took %v: %v", took, err)
		}
	})
}

// A Flush that gave up does not disturb the others.
func TestFlushGivesUp(t *testing.T) {
	flushes(t, func(l *lane) {
		l.answer("a", "10s+ok")
		l.put("a")
		l.run()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				_, err := l.flush(time.Duration(i+1) * 1500 * time.Millisecond)
				if gaveUp := (i+1)*1500 < 10000; gaveUp != errors.Is(err, context.DeadlineExceeded) || !gaveUp && err != nil {
					l.Error(fmt.Errorf("flush %d: %w", i, err))
				}
			})
		}
		wg.Wait()
		l.ends("delivered 1")
	})
}

var _ sender.Marker = (*marking)(nil)
