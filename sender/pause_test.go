package sender_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// The limiter hears of a pause at once, and is slowed once in an episode.
func TestLimiterIsTold(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{}
		l.limiter = m
		l.options.Concurrency = 5
		l.answer("a", "1s+429:10s ok")
		l.answer("b", "2s+429:20s ok") // began before the halving
		l.answer("c", "3s+429:5s ok")
		l.answer("d", "100ms+ok")
		l.put("a b c d")
		l.run()
		l.wait(22*time.Second - 1)
		if _, slowed, paused := m.count(); slowed != 1 || paused != 3 {
			l.Fatalf("the limiter was slowed %d times and paused %d times, want 1 and 3", slowed, paused)
		}
		if n := len(l.requests()); n != 4 {
			l.Fatalf("%d requests before the longest pause is over, want 4", n)
		}
		if st := l.s.Status(); !st.PausedUntil.Equal(l.start.Add(22 * time.Second)) {
			l.Fatalf("Status is %+v", st)
		}
		l.wait(time.Minute)
		if st := l.s.Status(); !st.PausedUntil.IsZero() {
			l.Fatalf("Status is %+v after the pause", st)
		}
		l.answer("e", "429:1s ok")
		l.put("e")
		l.wait(time.Minute)
		if _, slowed, _ := m.count(); slowed != 2 {
			l.Fatalf("the limiter was slowed %d times, want once in each of two episodes", slowed)
		}
		l.ends("delivered 5")
	})
}

// A pause applies from the moment in which the first worker knows of it: a worker that has a token
// does not use it.
func TestPauseStopsTokens(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{interval: time.Second}
		l.limiter = m
		l.answer("a", "2500ms+429:1m ok")
		l.answer("*", "1m+ok")
		l.put("a b c d e f")
		l.run()
		l.wait(62500*time.Millisecond - 1)
		l.wants(`0s a 2500ms+429:1m
			1s b 1m+ok
			2s c 1m+ok`)
	})
}

// slowHandler is a log that takes its time with one message.
type slowHandler struct {
	slog.Handler
	text string
}

func (h slowHandler) Handle(ctx context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.text) {
		time.Sleep(10 * time.Second)
	}
	return h.Handler.Handle(ctx, r)
}

// The workers know of a pause before the loop has dealt with it.
func TestPauseIsKnownAtOnce(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Logger = slog.New(slowHandler{slog.NewTextHandler(&l.logs, nil), "asked for a pause"})
		l.limiter = &metered{interval: time.Second}
		l.answer("a", "500ms+429:1m ok")
		l.put("a b c")
		l.run()
		l.wait(time.Minute)
		l.wants("0s a 500ms+429:1m")
		l.wait(time.Minute)
		l.ends("delivered 3")
	})
}

// When the lane is held, a worker that waits for a token is called back, and the probe follows.
func TestHoldStopsTokens(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{interval: 2 * time.Second}
		l.limiter = m
		l.answer("a", "1500ms+403 1s+ok")
		l.put("a b c")
		l.run()
		l.wait(time.Minute)
		l.wants(`0s a 1500ms+403
			2.5s a 1s+ok
			4.5s b ok
			6.5s c ok`)
		if granted, _, _ := m.count(); granted != 4 {
			l.Fatalf("%d tokens for 4 requests", granted)
		}
	})
}

// Nobody means more than a day: such an order is logged, and the lane waits as if there was no time
// in it. A day is obeyed.
func TestAbsurdPause(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.Backoff = steady(time.Second)
		l.answer("a", "429:1000h 429:24h1s 429:24h ok")
		l.put("a")
		l.run()
		l.wait(30 * time.Hour)
		if l.logged("mistake") != 1 || l.logged("asked=1000h0m0s") != 1 {
			l.Fatalf("want one line, with what was asked for:\n%s", l.logs.String())
		}
		l.wants("0s a 429:1000h\n1s a 429:24h1s\n4s a 429:24h\n24h0m5s a ok")
	})
}

// A least wait holds back its item, and no other. One beyond a day is logged and not obeyed.
func TestMinWait(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.Backoff = steady(10 * time.Second)
		l.answer("a", "500:1m ok") // longer than the backoff
		l.answer("b", "500:1s ok") // shorter
		l.answer("c", "500:1000h ok")
		l.answer("d", "503:2m ok")
		l.put("a b c d e")
		l.run()
		l.wait(time.Hour)
		l.wants(`0s a 500:1m
			0s b 500:1s
			0s c 500:1000h
			0s d 503:2m
			0s e ok
			10s b ok
			10s c ok
			1m0s a ok
			2m0s d ok`)
		if l.logged("mistake") != 1 || l.logged("asked=1000h0m0s") != 1 {
			l.Fatalf("want one line, with what was asked for:\n%s", l.logs.String())
		}
	})
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.answer("a", "403:1m ok")
		l.put("a b")
		l.run()
		l.wait(time.Hour)
		l.wants("0s a 403:1m\n1s b ok\n1m0s a ok") // b is the probe
		if err := sender.MinWait(nil, time.Hour); err != nil {
			l.Errorf("MinWait(nil) is %v", err)
		}
	})
}

// A restart during a pause: the new limiter learns of it.
func TestRestartTellsLimiter(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("a", "429:1h ok")
		l.put("a b")
		l.run()
		l.wait(time.Minute)
		m := &metered{}
		l.limiter = m
		l.crash()
		l.wait(time.Minute)
		if _, slowed, paused := m.count(); paused != 1 || slowed != 0 || !m.paused[0].Equal(l.start.Add(time.Hour)) {
			l.Fatalf("the limiter was paused until %v, and slowed %d times", m.paused, slowed)
		}
		if st := l.s.Status(); !st.PausedUntil.Equal(l.start.Add(time.Hour)) {
			l.Fatalf("Status is %+v", st)
		}
		l.wait(time.Hour)
		l.ends("delivered 2")
	})
}

// While the lane is paused or held, the queue is not asked.
func TestNoPollingInSilence(t *testing.T) {
	for answer, most := range map[string]int64{"429:24h": 5, "403": 24 * 60 * 2} {
		in(t, func(l *lane) {
			q := &watched{Memory: &l.Memory}
			l.queue = q
			m := &metered{}
			l.limiter = m
			l.answer("*", answer)
			l.put(strings.Repeat("x ", 20))
			l.run()
			l.wait(time.Minute)
			before := q.claims.Load()
			for range 23 * 60 {
				l.put("x") // wakes it
				l.wait(time.Minute)
			}
			if n := q.claims.Load() - before; n > most {
				l.Fatalf("%s: the queue was asked %d times in a day of silence", answer, n)
			}
			// Requests that were about to start when the silence began have a token each; to take one at
			// each wake would be more than a thousand.
			if granted, _, _ := m.count(); granted > len(l.requests())+100 {
				l.Fatalf("%s: %d tokens for %d requests", answer, granted, len(l.requests()))
			}
		})
	}
}
