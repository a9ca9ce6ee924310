package sender_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// More requests start when the number is raised; when it is lowered, those in flight finish.
func TestSetConcurrency(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 2
		l.answer("*", "10s+ok")
		l.put(strings.Repeat("x ", 100))
		l.run()
		set := func(n int) {
			l.Helper()
			if err := l.s.SetConcurrency(n); err != nil {
				l.Fatal(err)
			}
		}
		flying := func(want int) {
			l.Helper()
			if now, _ := l.inFlight(); now != want {
				l.Fatalf("%v: %d in flight, want %d", time.Since(l.start), now, want)
			}
		}
		l.wait(time.Second)
		flying(2)
		set(30)
		l.wait(time.Second)
		flying(30)
		if n := l.s.Status().Concurrency; n != 30 {
			l.Errorf("Status says %d", n)
		}
		set(3)
		l.wait(time.Second)
		flying(30) // nothing is cut off
		l.wait(7*time.Second + time.Second/2)
		flying(28) // two have ended, and none has started
		l.wait(10 * time.Second)
		flying(3)
		set(0)
		l.wait(time.Second)
		flying(10)
		l.wait(10 * time.Minute)
		l.ends("delivered 100")
	})
}

// A worker that waits for its token gives it back if there are too many requests then.
func TestLowerConcurrencyWhileOneWaits(t *testing.T) {
	in(t, func(l *lane) {
		l.limiter = &metered{interval: 10 * time.Second}
		l.options.Concurrency = 2
		l.answer("*", "25s+ok")
		l.put("a b c")
		l.run()
		l.wait(time.Second)
		if err := l.s.SetConcurrency(1); err != nil {
			l.Fatal(err)
		}
		l.wait(10 * time.Minute)
		if _, most := l.inFlight(); most != 1 {
			l.Fatalf("%d in flight at once", most)
		}
		l.ends("delivered 3")
	})
}

// Calls that do not return may be more than the slots that are left: both numbers are said.
func TestLowerConcurrencyThanAbandonedCalls(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Timeout, l.options.Concurrency = time.Second, 3
		l.answer("hangs", "10m+ok")
		l.put("hangs hangs a")
		l.run()
		l.wait(time.Minute)
		if st := l.s.Status(); st.Held != "" || st.Abandoned != 2 {
			l.Fatalf("%+v", st)
		}
		if err := l.s.SetConcurrency(1); err != nil {
			l.Fatal(err)
		}
		l.wait(time.Second)
		if st := l.s.Status(); st.HeldBy != sender.HeldByTransport || st.Held != "2 requests ignore the end of their context, and at most 1 may be in flight" {
			l.Fatalf("%+v", st)
		}
		l.wait(20 * time.Minute)
		l.ends("delivered 3")
	})
}

func TestSetConcurrencyBounds(t *testing.T) {
	in(t, func(l *lane) {
		l.make()
		for n, want := range map[int]string{-1: "the least is 0", 1<<16 + 1: "the most is 65536"} {
			if err := l.s.SetConcurrency(n); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("SetConcurrency(%d): %v, want %q", n, err, want)
			}
		}
		if err := l.s.SetConcurrency(1); err != nil { // before Run
			t.Fatal(err)
		}
		l.answer("*", "1s+ok")
		l.put("a b c")
		l.begin()
		l.wait(time.Minute)
		if _, most := l.inFlight(); most != 1 {
			l.Fatalf("%d in flight at once", most)
		}
	})
}
