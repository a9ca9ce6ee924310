package sender_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Eight items that always answer 500 and three that always answer 403 stand before a thousand good
// ones.
func TestPoisonAtTheHead(t *testing.T) {
	in(t, func(l *lane) {
		var bad []string
		for i := range 11 {
			bad = append(bad, fmt.Sprintf("bad%d", i))
			l.answer(bad[i], []string{"20ms+500", "20ms+403"}[i/8])
		}
		l.answer("*", "20ms+ok")
		l.put(strings.Join(bad, " "))
		l.put(strings.Repeat("good ", 1000))
		l.run()
		l.wait(5 * time.Minute)
		if got := l.Counts().Delivered; got != 1000 {
			l.Fatalf("%d good items of 1000 are delivered after 5 minutes", got)
		}
		for range 24 * 60 { // a day on which one good item comes each minute
			l.put("good")
			l.wait(time.Minute)
		}
		l.ends("delivered 2440, dead " + strings.Join(bad, " "))
		for _, it := range l.Dead() {
			if it.Attempts != 20 || it.LastErr == "" {
				l.Errorf("%s died after %d attempts, of %q", it.Payload, it.Attempts, it.LastErr)
			}
		}
	})
}

// One item that is always throttled delays the others by its Retry-After each time it is sent, and
// after it was the probe, others have their turn.
func TestAlwaysThrottled(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("bad", "429:30s")
		l.put("bad")
		l.run()
		for range 3600 {
			l.put("good")
			l.wait(time.Second)
		}
		l.wait(2 * time.Minute)
		l.ends("delivered 3600, pending bad")
		count, inRow, last := 0, 0, time.Duration(0)
		for _, line := range l.requests() {
			f := strings.Fields(line)
			at, _ := time.ParseDuration(f[0])
			if f[1] != "bad" {
				inRow = 0
				continue
			}
			if count++; count > 1 && at < last+30*time.Second {
				l.Fatalf("bad was sent at %v and at %v", last, at)
			}
			last = at
			if inRow++; inRow > 2 {
				l.Fatalf("bad was sent %d times in a row, while others waited; the last at %v", inRow, at)
			}
		}
		if it := l.item("bad"); it.Attempts != 0 || count < 10 {
			l.Fatalf("bad was sent %d times, and %d were charged; want none", count, it.Attempts)
		}
	})
}

// No item dies in an outage of ten hours, however it shows.
func TestOutage(t *testing.T) {
	for _, word := range []string{"500", "403", "timeout", "panic", "429", "1s+500"} {
		for name, items := range map[string]int{"single": 1, "busy": 100} {
			t.Run(word+" "+name, func(t *testing.T) {
				in(t, func(l *lane) {
					l.options.MaxAttempts = 2
					l.put("before")
					l.run()
					l.wait(time.Minute)
					l.answer("*", word)
					l.put(strings.Repeat("x ", items))
					for range 60 {
						l.wait(10 * time.Minute)
						if items > 1 {
							l.put("x")
							items++
						}
					}
					l.ends("delivered 1, pending" + strings.Repeat(" x", items))
					// Held, one request a minute; one item alone is tried on its own backoff, which
					// is as long. What was in flight at first comes on top.
					if n := len(l.requests()); n > 10*60*2+100 {
						l.Errorf("%d requests in ten hours of outage", n)
					}
					l.answer("*", "ok")
					l.wait(10 * time.Minute)
					l.ends(fmt.Sprintf("delivered %d", items+1))
				})
			})
		}
	}
}

// A hold is logged once, then hourly, and when it ends, with count and duration; never an item.
func TestHoldIsLogged(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("*", "403")
		l.put(strings.Repeat("key/secret ", 50))
		l.run()
		l.wait(10*time.Hour - time.Minute)
		if held, still := l.logged("lane is held"), l.logged("still held"); held != 1 || still != 9 {
			l.Fatalf("logged %d times, and %d times again; want 1 and 9:\n%s", held, still, l.logs.String())
		}
		st := l.s.Status()
		if !strings.Contains(st.Held, "answer 403") || !st.HeldSince.Equal(l.start) {
			l.Fatalf("Status is %+v", st)
		}
		failures := fmt.Sprintf(" failures=%d after=", len(l.requests()))
		l.answer("*", "ok")
		l.wait(2 * time.Minute)
		if l.logged("open again") != 1 || l.logged(failures) != 1 {
			l.Fatalf("the recovery is not logged with its count:\n%s", l.logs.String())
		}
		if st := l.s.Status(); st.Held != "" || !st.HeldSince.IsZero() {
			l.Fatalf("Status is %+v after the recovery", st)
		}
		if l.logged("secret") != 0 || l.logged("key") != 0 {
			l.Fatalf("the log tells items:\n%s", l.logs.String())
		}
	})
}
