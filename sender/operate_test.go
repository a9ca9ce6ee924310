package sender_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// operated is a Memory that wakes the sender as an Operator must, and whose ClearThrottle can be told
// to fail.
type operated struct {
	*sendertest.Memory
	wake func()
	err  error // what ClearThrottle returns; nil: it works
}

func (q *operated) Pause(ctx context.Context, p sender.Pause) error {
	defer q.wake()
	return q.Memory.Pause(ctx, p)
}

func (q *operated) Resume(ctx context.Context) error {
	defer q.wake()
	return q.Memory.Resume(ctx)
}

func (q *operated) ClearThrottle(ctx context.Context) error {
	if q.err != nil {
		return q.err
	}
	return q.Memory.ClearThrottle(ctx)
}

// operate makes the lane's queue an operated one.
func operate(l *lane) *operated {
	q := &operated{Memory: &l.Memory, wake: func() { l.s.Wake() }}
	l.queue = q
	return q
}

func order(l *lane, q *operated, until time.Duration) {
	l.Helper()
	p := sender.Pause{By: "ann", Reason: "repairs"}
	if until > 0 {
		p.Until = time.Now().Add(until)
	}
	if err := q.Pause(l.Context(), p); err != nil {
		l.Fatal(err)
	}
}

// While the operator's pause is in force nothing starts; requests in flight finish. It ends by its
// time, or by Resume.
func TestOperatorsPause(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.options.Concurrency = 1
		l.answer("a", "3s+ok")
		l.put("a b c d")
		l.run()
		l.wait(time.Second)
		order(l, q, 10*time.Minute)
		l.wait(5 * time.Minute)
		l.ends("delivered 1, pending b c d")
		l.answer("c", "3s+ok")
		l.wait(5*time.Minute + time.Second)
		order(l, q, 0)
		l.wait(48 * time.Hour)
		l.ends("delivered 3, pending d")
		if err := q.Resume(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.wait(time.Second)
		l.wants("0s a 3s+ok\n10m1s b ok\n10m1s c 3s+ok\n48h10m2s d ok")
		if n, over := l.logged("paused by its operator"), l.logged("the operator's pause is over"); n != 2 || over != 2 || l.logged("by=ann") != 4 || l.logged("until=") != 1 {
			l.Errorf("%d lines about a pause and %d about its end:\n%s", n, over, l.logs.String())
		}
	})
}

// A pause from before the start holds, and needs no wake to end.
func TestOperatorsPauseFromBefore(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		q.wake = func() {}
		order(l, q, time.Hour)
		l.put("a")
		l.run()
		l.wait(2 * time.Hour)
		l.wants("1h0m0s a ok")
	})
}

// A held lane is not probed, with an item or without one, and Status knows when it is.
func TestNoProbesDuringTheOperatorsPause(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.options.Concurrency = 1
		l.answer("*", "403 ok")
		l.put("a b")
		l.run()
		l.wait(500 * time.Millisecond)
		order(l, q, time.Hour)
		l.wait(time.Minute)
		if at := l.s.Status().Probe; !at.Equal(l.start.Add(time.Hour + 500*time.Millisecond)) {
			l.Errorf("the next probe is at %v", at.Sub(l.start))
		}
		l.wait(2 * time.Hour)
		l.wants("0s a 403\n1h0m0.5s a ok\n1h0m0.5s b ok")
	})
}

// A request that waits in the limiter when the pause begins does not start, and has cost nothing. This
// is so without a wake, and for parts of a batch and items that are in hand.
func TestOperatorsPauseWhileOneWaits(t *testing.T) {
	for _, split := range []bool{false, true} {
		in(t, func(l *lane) {
			q := operate(l)
			l.limiter = &metered{interval: 10 * time.Second}
			if split {
				l.batch = 2
				l.answer("a", "split ok")
			}
			l.put("a b")
			l.run()
			l.wait(5 * time.Second)
			order(l, q, time.Minute)
			l.wait(55 * time.Second)
			if n := len(l.requests()); n != 1 {
				l.Fatalf("split %v: the requests were %q", split, l.requests())
			}
			for _, it := range l.Pending() {
				if it.Failures != 0 || it.Attempts != 0 {
					l.Errorf("split %v: charged: %+v", split, it)
				}
			}
			l.wait(10 * time.Minute)
			l.ends("delivered 2")
		})
	}
}

// What is in hand goes back, so that its owner may drop it: also what waits for its verdict.
func TestOperatorsPauseHandsBack(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.options.Concurrency = 2
		l.answer("a", "1s+400")
		l.answer("b", "3s+ok")
		l.put("a b")
		l.make()
		released := make(chan string, 10)
		l.s.Observe(func(o sender.Outcome) {
			if o.Verdict == sender.Released {
				released <- string(o.Item.Payload)
			}
		})
		l.begin()
		l.wait(2 * time.Second)
		order(l, q, time.Hour)
		synctest.Wait()
		if len(released) != 1 || <-released != "a" {
			l.Fatal("a, which waits for its verdict, was not given back")
		}
		l.wait(2 * time.Hour)
		l.ends("delivered 1, dead a")
	})
}

// Flush returns at once if the pause outlasts its context, and waits otherwise.
func TestFlushDuringTheOperatorsPause(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.put("a")
		l.make()
		order(l, q, 0)
		l.begin()
		begin := time.Now()
		if err := l.s.Flush(l.Context()); err == nil || !strings.Contains(err.Error(), "paused by its operator, without an end") || time.Since(begin) != 0 {
			l.Errorf("without an end: %v after %v", err, time.Since(begin))
		}
		order(l, q, time.Hour)
		begin = time.Now()
		ctx, cancel := context.WithTimeout(l.Context(), time.Minute)
		defer cancel()
		if err := l.s.Flush(ctx); err == nil || !strings.Contains(err.Error(), "paused by its operator until") || time.Since(begin) != 0 {
			l.Errorf("an hour: %v after %v", err, time.Since(begin))
		}
		ctx, cancel = context.WithTimeout(l.Context(), 2*time.Hour)
		defer cancel()
		if err := l.s.Flush(ctx); err != nil || time.Since(begin) != time.Hour {
			l.Errorf("two hours: %v after %v", err, time.Since(begin))
		}
		// A pause that begins while Flush waits ends that wait.
		l.answer("*", "1m+ok")
		l.options.Concurrency = 1
		l.put("b c d e f g h i j k l m")
		done := make(chan error, 1)
		go func() { done <- l.s.Flush(l.Context()) }()
		l.wait(time.Second)
		order(l, q, 0)
		synctest.Wait()
		select {
		case err := <-done:
			if err == nil {
				l.Error("Flush is content")
			}
		default:
			l.Error("Flush waits for a pause without an end")
		}
	})
}

// The end of the pause is no burst.
func TestNoBurstAfterTheOperatorsPause(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.limiter = &limiter.Limiter{PerSecond: 1, Burst: 50}
		l.make()
		order(l, q, time.Hour)
		l.begin()
		l.put(strings.Repeat("x ", 100))
		l.wait(time.Hour + 5*time.Second + 500*time.Millisecond)
		if n := len(l.requests()); n != 5 {
			l.Fatalf("%d requests in the 5s after the pause, at one a second", n)
		}
	})
}

// ClearThrottle lets one request go at once, alone, and its success opens the lane.
func TestClearThrottle(t *testing.T) {
	in(t, func(l *lane) {
		operate(l)
		pace := &limiter.Limiter{PerSecond: 1000, Burst: 1, Recovery: time.Hour}
		l.limiter = pace
		l.answer("a", "429:10h 5s+ok")
		l.answer("*", "1s+ok")
		l.put("a")
		l.run()
		l.wait(time.Second)
		l.put("b c")
		l.wait(time.Hour)
		if st := l.s.Status(); st.PausedUntil.IsZero() {
			l.Fatalf("not paused: %+v", st)
		}
		if err := l.s.ClearThrottle(l.Context()); err != nil {
			l.Fatal(err)
		}
		if st := l.s.Status(); !st.PausedUntil.IsZero() {
			l.Errorf("still paused until %v", st.PausedUntil)
		}
		l.wait(time.Second)
		if now, _ := l.inFlight(); now != 1 {
			l.Errorf("%d requests go first", now)
		}
		l.wait(time.Minute)
		l.ends("delivered 3")
		if _, at := l.sent("a"); at > time.Hour+2*time.Second {
			l.Errorf("a was sent at %v", at)
		}
		if _, most := l.inFlight(); most < 2 {
			l.Error("the lane did not open")
		}
		if share := pace.Rate() / pace.Limit(); share > 0.6 {
			l.Errorf("the rate is %v of its setting", share)
		}
	})
}

// A pause that came back with an answer just before does not survive either, whatever it is recorded
// with; one that a failed probe is told afterwards does.
func TestClearThrottleBesideItsRecord(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.queue = slowSettle{q}
		l.answer("a", "429:10h 429:1h ok")
		l.put("a")
		l.run()
		l.wait(500 * time.Millisecond) // the record takes a second
		if err := l.s.ClearThrottle(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.wait(10 * time.Second)
		if n, _ := l.sent("a"); n != 2 {
			l.Fatalf("sent %d times: %s", n, l.logs.String())
		}
		l.wait(50 * time.Minute)
		if n, _ := l.sent("a"); n != 2 {
			l.Fatal("the order of the probe was not obeyed")
		}
		l.wait(time.Hour)
		l.ends("delivered 1")
	})
}

// slowSettle takes a second to record.
type slowSettle struct{ *operated }

func (q slowSettle) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	time.Sleep(time.Second)
	return q.operated.Settle(ctx, outcomes...)
}

// Before Run, after it, and without a pause.
func TestClearThrottleAtAnyTime(t *testing.T) {
	in(t, func(l *lane) {
		q := operate(l)
		l.answer("a", "429:10h ok")
		l.put("a")
		l.run()
		l.wait(time.Second)
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		if err := l.s.ClearThrottle(l.Context()); err != nil || !q.Paused().IsZero() {
			l.Fatalf("after Run: %v, paused until %v", err, q.Paused())
		}
		l.answer("a", "429:10h ok")
		l.make()
		if err := l.s.ClearThrottle(l.Context()); err != nil || !q.Paused().IsZero() {
			l.Fatalf("before Run: %v, paused until %v", err, q.Paused())
		}
		l.answer("a", "ok")
		l.Memory.Restart()
		l.begin()
		l.wait(time.Minute)
		l.ends("delivered 1")
		if err := l.s.ClearThrottle(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.put("b c")
		l.wait(time.Minute)
		l.ends("delivered 3")
	})
}

func TestClearThrottleErrors(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = struct{ sender.Queue }{&l.Memory}
		l.run()
		if err := l.s.ClearThrottle(l.Context()); !errors.Is(err, errors.ErrUnsupported) {
			l.Errorf("a queue that is no Operator: %v", err)
		}
	})
	in(t, func(l *lane) {
		q := operate(l)
		q.err = errors.New("disk full")
		l.answer("a", "429:1h ok")
		l.put("a")
		l.run()
		l.wait(time.Second)
		if err := l.s.ClearThrottle(l.Context()); !errors.Is(err, q.err) {
			l.Errorf("the queue fails: %v", err)
		}
		l.wait(time.Minute)
		if n, _ := l.sent("a"); n != 1 {
			l.Error("the pause ended in spite of the error")
		}
		if err := l.s.ClearThrottle(noContext); err == nil {
			l.Error("no context, no error")
		}
	})
}

// A pause that only the limiter knows, because another lane told it, is cleared too: one request goes
// first, alone.
func TestClearThrottleOfASharedLimiter(t *testing.T) {
	in(t, func(l *lane) {
		operate(l)
		pace := &limiter.Limiter{PerSecond: 1000, Burst: 1}
		l.limiter = pace
		l.answer("*", "1s+ok")
		l.run()
		pace.Pause(time.Now().Add(10 * time.Hour))
		l.put("a b c")
		l.wait(time.Hour)
		if err := l.s.ClearThrottle(l.Context()); err != nil {
			l.Fatal(err)
		}
		l.wait(500 * time.Millisecond)
		if now, _ := l.inFlight(); now != 1 {
			l.Errorf("%d requests go first", now)
		}
		l.wait(time.Second)
		if now, _ := l.inFlight(); now != 2 {
			l.Errorf("%d requests in the open lane, want the other two", now)
		}
		l.wait(time.Minute)
		l.ends("delivered 3")
	})
}
