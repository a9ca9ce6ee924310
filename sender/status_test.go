package sender_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// brokenLink is an error that cannot be compared.
type brokenLink struct{ parts []string }

func (e brokenLink) Error() string { return "link down" }

// Status says what is broken, by which error, and when the destination is tried next.
func TestStatusNamesWhatIsBroken(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.answer("a", "3s+403 3s+403 ok")
		l.put("a b")
		l.make()
		if st := l.s.Status(); st.Concurrency != 1 || st.HeldBy != "" || st.Requests != 0 {
			l.Fatalf("before Run: %+v", st)
		}
		l.begin()
		l.wait(3500 * time.Millisecond)
		st := l.s.Status()
		if st.HeldBy != sender.HeldByDestination || st.HeldErr == nil || st.HeldErr.Error() != "answer 403" || !st.Probe.Equal(l.start.Add(4*time.Second)) {
			l.Fatalf("held: %+v", st)
		}
		if mark, _ := sender.Classify(st.HeldErr); mark != sender.MarkUnavailable {
			l.Errorf("the mark of the error is %q", mark)
		}
		l.wait(time.Second)
		if st := l.s.Status(); !st.Probe.IsZero() || st.Requests != 2 || st.HeldBy != sender.HeldByDestination {
			l.Fatalf("while the probe is in flight: %+v", st)
		}
		l.wait(time.Minute)
		if st := l.s.Status(); st.HeldBy != "" || st.HeldErr != nil || !st.Probe.IsZero() {
			l.Fatalf("open again: %+v", st)
		}
	})
}

// An error that cannot be compared holds the lane like any other, again and again.
func TestStatusOfAnErrorThatCannotBeCompared(t *testing.T) {
	in(t, func(l *lane) {
		q := &l.Memory
		l.put("a")
		s, err := sender.New(q, sender.TransportFunc(func(_ context.Context, _ sender.Item) error {
			return sender.Unavailable(brokenLink{[]string{"x"}})
		}), nil, nil)
		if err != nil {
			l.Fatal(err)
		}
		l.s = s
		l.begin()
		l.wait(time.Minute)
		var broken brokenLink
		if st := s.Status(); !errors.As(st.HeldErr, &broken) || st.HeldBy != sender.HeldByDestination {
			l.Fatalf("%+v", st)
		}
	})
}

func TestStatusOfTrouble(t *testing.T) {
	broken := errors.New("broken")
	in(t, func(l *lane) {
		l.put("a")
		l.FailNext(3, broken, false)
		l.run()
		l.wait(500 * time.Millisecond)
		if st := l.s.Status(); st.HeldBy != sender.HeldByStorage || !errors.Is(st.HeldErr, broken) || !st.Probe.IsZero() {
			l.Fatalf("Settle fails: %+v", st)
		}
	})
	in(t, func(l *lane) {
		m := &metered{}
		m.fail(broken)
		l.limiter = m
		l.put("a")
		l.run()
		l.wait(500 * time.Millisecond)
		if st := l.s.Status(); st.HeldBy != sender.HeldByLimiter || !errors.Is(st.HeldErr, broken) {
			l.Fatalf("the limiter fails: %+v", st)
		}
	})
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.options.Timeout = time.Second
		l.answer("a", "1h+ok")
		l.put("a")
		l.run()
		l.wait(time.Minute)
		if st := l.s.Status(); st.HeldBy != sender.HeldByTransport || st.HeldErr != nil {
			l.Fatalf("the transport hangs: %+v", st)
		}
	})
}
