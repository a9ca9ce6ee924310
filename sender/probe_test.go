package sender_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// asking is a lane whose transport is a Prober and an IdleCloser.
type asking struct {
	sender.TransportFunc
	l *lane

	mu      sync.Mutex
	answers []string // of Probe; the last one stays
	closed  int
}

func (a *asking) Probe(ctx context.Context) error {
	a.mu.Lock()
	word := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	a.mu.Unlock()
	a.l.mu.Lock()
	a.l.trace = append(a.l.trace, time.Since(a.l.start).Round(time.Millisecond).String()+" probe "+word)
	a.l.mu.Unlock()
	return play(ctx, word)
}

func (a *asking) CloseIdleConnections() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed++
}

func (a *asking) closes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// ask starts a Sender over such a transport.
func (l *lane) ask(answers string) *asking {
	l.Helper()
	a := &asking{TransportFunc: l.send, l: l, answers: strings.Fields(answers)}
	l.askOver(a)
	return a
}

func (l *lane) askOver(t sender.Transport) {
	l.Helper()
	l.options.Logger = slog.New(slog.NewTextHandler(&l.logs, nil))
	s, err := sender.New(&l.Memory, t, l.limiter, &l.options)
	if err != nil {
		l.Fatal(err)
	}
	l.s = s
	l.begin()
}

// A lane that must not send twice tests a destination by the harmless request: an outage costs what
// was in flight when it began.
func TestAtMostOnceOutageWithProber(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		l.options.Concurrency = 5
		l.answer("*", "100ms+500") // so that five are in flight
		l.put(strings.Repeat("x ", 50))
		a := l.ask("500")
		for range 60 {
			l.wait(time.Minute)
			if st := l.s.Status(); !strings.Contains(st.Held, "answer 500") {
				l.Fatalf("Status is %+v", st)
			}
		}
		if c := l.Counts(); c.Dead != 5 || c.Pending != 45 {
			l.Fatalf("after an hour %d are dead and %d pending, want the 5 that were in flight, and 45", c.Dead, c.Pending)
		}
		probes := l.logCount("probe 500")
		if probes < 60 || probes > 70 {
			l.Errorf("%d probes in an hour, want one a minute", probes)
		}
		if n := a.closes(); n != probes {
			l.Errorf("idle connections were closed %d times, want once for each of %d probes", n, probes)
		}
		a.mu.Lock()
		a.answers = []string{"ok"}
		a.mu.Unlock()
		l.answer("*", "ok")
		l.wait(2 * time.Minute)
		if c := l.Counts(); c.Dead != 5 || c.Delivered != 45 {
			l.Fatalf("after the outage %d are dead and %d delivered, want 5 and 45", c.Dead, c.Delivered)
		}
	})
}

// Also a lane of one request at a time loses only the one that was in flight.
func TestOneUnknownHoldsWithProber(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		l.options.Concurrency = 1
		l.answer("a", "429:1s 403 500") // it has failed before
		l.answer("b", "500 ok")
		l.put("a b c")
		l.ask("ok ok 500")
		l.wait(time.Hour)
		// A probe passes once, so that a is sent, and once, so that b is sent.
		l.ends("delivered 0, dead a b, pending c")
	})
}

// logCount counts the requests that contain text.
func (l *lane) logCount(text string) int {
	return strings.Count(strings.Join(l.requests(), "\n"), text)
}

// After a probe that passed one item goes alone, on the connection that the probe made. If it
// fails, the hold goes on, and the probe is asked again.
func TestProberThenOneItem(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{}
		l.limiter = m
		l.options.AtMostOnce = true
		l.options.Concurrency = 1 // the trace has an order
		l.answer("a", "403 500")
		l.put("a")
		a := l.ask("400 panic timeout 429:10s ok")
		l.options.Timeout = 30 * time.Second
		l.wait(100 * time.Millisecond)
		l.put("b c")
		l.wait(2 * time.Minute)
		// The probe of 7s lasts 30s, and the lane waits 8s more. The one at 45s is told to wait; after
		// a pause an item is the probe.
		l.wants(`0s a 403
			1s probe 400
			3s probe panic
			7s probe timeout
			45s probe 429:10s
			55s a 500
			1m27s probe ok
			1m27s b ok
			1m27s c ok`)
		l.ends("delivered 2, dead a")
		if n := a.closes(); n != 5 {
			l.Errorf("idle connections were closed %d times, want 5", n)
		}
		if granted, slowed, paused := m.count(); granted != len(l.requests()) || slowed != 1 || paused != 1 {
			l.Errorf("%d tokens for %d requests; the limiter was slowed %d times and paused %d times, want 1 and 1", granted, len(l.requests()), slowed, paused)
		}
	})
}

// A lane with nothing to send is not probed.
func TestProberNeedsWork(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		l.answer("*", "later:1h ok")
		l.put("a")
		l.answer("b", "403 later:1h ok")
		l.put("b")
		l.ask("ok")
		l.wait(30 * time.Minute)
		if n := l.logCount("probe"); n != 1 {
			l.Errorf("%d probes, want the one for b: %q", n, l.requests())
		}
	})
}

// A lane that may send twice probes with items: they are the better test. It takes a new connection
// as well; a lane that is paused does not.
func TestItemsProbe(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("a", "429:1s 403 403 ok")
		l.put("a")
		a := l.ask("ok")
		l.wait(time.Minute)
		l.ends("delivered 1")
		if n := l.logCount("probe"); n != 0 {
			l.Errorf("%d probes, want none", n)
		}
		if n := a.closes(); n != 2 {
			l.Errorf("idle connections were closed %d times, want 2: before each probe of the hold", n)
		}
	})
}

// ByKind offers what its transports offer.
func TestByKindProbes(t *testing.T) {
	plain := sender.TransportFunc(func(context.Context, sender.Item) error { return nil })
	one := &asking{answers: []string{"ok"}, l: &lane{}}
	two := &asking{answers: []string{"500"}, l: &lane{}}
	if _, ok := sender.ByKind(map[string]sender.Transport{"a": one, "b": plain}).(sender.Prober); ok {
		t.Error("a Prober, though one transport is none")
	}
	if _, ok := sender.ByKind(nil).(sender.Prober); ok {
		t.Error("a Prober of nothing")
	}
	both := sender.ByKind(map[string]sender.Transport{"a": one, "b": two, "c": one})
	if err := both.(sender.Prober).Probe(t.Context()); err == nil || err.Error() != "answer 500" {
		t.Errorf("the answer is %v", err)
	}
	two.answers = []string{"ok"}
	if err := both.(sender.Prober).Probe(t.Context()); err != nil {
		t.Errorf("the answer is %v", err)
	}
	sender.ByKind(map[string]sender.Transport{"a": one, "b": plain}).(sender.IdleCloser).CloseIdleConnections()
	if one.closes() != 1 {
		t.Error("its idle connections stay open")
	}
	if err := sender.ByKind(map[string]sender.Transport{"a": one}).Send(t.Context(), sender.Item{Kind: "x"}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("an unknown kind: %v", err)
	}
}
