package sender_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

const unknown = "sent, answer unknown"

// slowRecord is a queue that takes its time to record what is about to be sent.
type slowRecord struct {
	*sendertest.Memory
	takes time.Duration

	mu       sync.Mutex
	recorded [][]string // the names of the items of each such call
}

func (q *slowRecord) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) > 0 && outcomes[0].Verdict == sender.Sending {
		var names []string
		for _, o := range outcomes {
			names = append(names, string(o.Item.Payload))
		}
		q.mu.Lock()
		q.recorded = append(q.recorded, names)
		q.mu.Unlock()
		select {
		case <-time.After(q.takes):
		case <-ctx.Done():
			// The commit had begun: it is recorded, and the caller does not know.
			return errors.Join(ctx.Err(), q.Memory.Settle(context.WithoutCancel(ctx), outcomes...))
		}
	}
	return q.Memory.Settle(ctx, outcomes...)
}

func (q *slowRecord) calls() [][]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.recorded)
}

// What each answer means for an item that must not be sent twice.
func TestAtMostOnce(t *testing.T) {
	for answer, want := range map[string]struct {
		ends, reason string
		sent         int
	}{
		"ok":             {"delivered 1", "", 1},
		"400":            {"delivered 0, dead a", "answer 400", 1},
		"500 ok":         {"delivered 0, dead a", unknown + ": answer 500", 1},
		"timeout ok":     {"delivered 0, dead a", unknown + ": context deadline exceeded", 1},
		"panic ok":       {"delivered 0, dead a", unknown + ": sender: the transport panicked: string", 1},
		"exit ok":        {"delivered 0, dead a", unknown + ": sender: the transport ended its goroutine", 1},
		"503 503 ok":     {"delivered 1", "", 3},
		"503:10s ok":     {"delivered 1", "", 2},
		"split ok":       {"delivered 0, dead a", "answer split", 1},
		"429:10s ok":     {"delivered 1", "", 2},
		"403 403 ok":     {"delivered 1", "", 3},
		"later:1m 400":   {"delivered 0, dead a", "answer 400", 2},
		"later:1m 500":   {"delivered 0, dead a", unknown + ": answer 500", 2},
		"1h+ok":          {"delivered 1", "", 1}, // late, but it counts
		"429:1h timeout": {"delivered 0, dead a", unknown + ": context deadline exceeded", 2},
	} {
		t.Run(answer, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.AtMostOnce = true
				l.options.OnOutcome = l.hear
				l.answer("a", answer)
				l.put("a")
				l.run()
				l.wait(3 * time.Hour)
				l.ends(want.ends)
				if n, _ := l.sent("a"); n != want.sent {
					l.Errorf("sent %d times, want %d", n, want.sent)
				}
				if want.reason != "" {
					it := l.item("a")
					if it.LastErr != want.reason || it.Attempts != 1 || it.Failures != 1 {
						l.Errorf("it is dead as %+v, want the reason %q and one attempt", it, want.reason)
					}
				}
				if told := l.told(); len(told) != want.sent || strings.Contains(strings.Join(told, ","), "sending") {
					l.Errorf("OnOutcome was told %q, want one outcome for each of %d requests", told, want.sent)
				}
			})
		})
	}
}

// An item is on record before its request begins, and nothing behind it passes.
func TestAtMostOnceIsRecordedFirst(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		var first sender.Counts
		s, err := sender.New(&l.Memory, sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
			if string(it.Payload) == "a/1" {
				first = l.Counts()
				if it.LastErr != "" || it.Attempts+it.Failures != 0 || !it.FailedAt.IsZero() {
					l.Errorf("the transport sees the record: %+v", it)
				}
			}
			time.Sleep(time.Second)
			return l.send(ctx, it)
		}), nil, &l.options)
		if err != nil {
			l.Fatal(err)
		}
		l.s = s
		l.answer("*", "500")
		l.put("a/1 a/2")
		l.begin()
		l.wait(10 * time.Second)
		if first.Pending != 2 || first.InFlight != 1 || first.Dead != 0 || first.Bytes != 3 || first.DeadBytes != 3 {
			l.Errorf("when the request began the counts were %+v, want a/1 stored as dead and in flight", first)
		}
		l.wants("1s a/1 500\n2s a/2 500")
		l.ends("delivered 0, dead a/1 a/2")
	})
}

// What cannot be recorded is not sent, and the lane says so; when it can, each item is sent once.
func TestAtMostOnceNotRecorded(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for _, batch := range []int{0, 4} {
			in(t, func(l *lane) {
				full := errors.New("disk full")
				l.options.AtMostOnce = true
				l.batch = batch
				l.FailNext(6, full, applied)
				l.put("a/1 a/2 b c d")
				l.run()
				synctest.Wait()
				if st := l.s.Status(); !strings.Contains(st.Held, "disk full") {
					l.Fatalf("Status is %+v, want the reason", st)
				}
				if trace := l.requests(); len(trace) != 0 {
					l.Fatalf("sent all the same: %q", trace)
				}
				l.wait(10 * time.Minute)
				l.ends("delivered 5")
				if all := strings.Join(l.requests(), " "); strings.Count(all, "a/1") != 1 || strings.Count(all, "b") != 1 {
					l.Fatalf("sent: %q", all)
				}
				if l.s.Status().Held != "" || l.logged("sending goes on") != 1 {
					l.Fatalf("Status is %+v, want a lane that moves; log:\n%s", l.s.Status(), l.logs.String())
				}
			})
		}
	}
}

// Requests that fail with one commit are one failure, after which the lane tries again in a second.
func TestAtMostOnceFailuresOfOneCommit(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &slowRecord{Memory: &l.Memory, takes: time.Second}
		l.options.AtMostOnce = true
		l.FailNext(4, errors.New("disk full"), false)
		l.put("a b c d")
		l.run()
		l.wait(4 * time.Second)
		l.ends("delivered 4")
	})
}

// A part of a batch that cannot be recorded is not forgotten.
func TestAtMostOncePieceNotRecorded(t *testing.T) {
	in(t, func(l *lane) {
		l.options.AtMostOnce = true
		l.options.Concurrency = 1
		l.batch = 4
		l.answer("a", "1s+split ok")
		l.put("a b c d")
		l.run()
		l.wait(500 * time.Millisecond)
		l.FailNext(1, errors.New("disk full"), false)
		l.wait(10 * time.Minute)
		l.ends("delivered 4")
	})
}

// A pause that begins while items are being recorded keeps them back, and leaves no trace.
func TestAtMostOncePausedWhileRecording(t *testing.T) {
	in(t, func(l *lane) {
		q := &slowRecord{Memory: &l.Memory, takes: time.Second}
		l.queue = q
		l.options.AtMostOnce = true
		l.options.Concurrency = 2
		l.answer("a", "500ms+429:1h ok")
		l.put("a")
		l.run()
		l.wait(time.Second)
		l.put("b/1 b/2")
		l.wait(time.Minute)
		l.wants("1s a 500ms+429:1h")
		l.ends("delivered 0, pending a b/1 b/2")
		if c := l.Counts(); c.DeadBytes != 0 || c.InFlight != 0 || len(q.calls()) != 2 {
			l.Fatalf("the ledger is %+v after the records %q", c, q.calls())
		}
		if it := l.item("b/1"); it.LastErr != "" || it.Failures != 0 {
			l.Fatalf("what was not sent is %+v", it)
		}
		l.wait(2 * time.Hour)
		l.ends("delivered 3")
	})
}

// Requests that waited long for one commit do not start all at once: each needs a token again.
func TestAtMostOnceKeepsThePace(t *testing.T) {
	for takes, granted := range map[time.Duration]int{10 * time.Millisecond: 3, 5 * time.Second: 6} {
		in(t, func(l *lane) {
			l.queue = &slowRecord{Memory: &l.Memory, takes: takes}
			m := &metered{interval: time.Second}
			l.limiter = m
			l.options.AtMostOnce = true
			l.put("a b c")
			l.run()
			l.wait(time.Minute)
			l.ends("delivered 3")
			var last time.Duration
			for i, line := range l.requests() {
				at, err := time.ParseDuration(strings.Fields(line)[0])
				if err != nil {
					l.Fatal(err)
				}
				if i > 0 && at-last < time.Second {
					l.Errorf("a commit of %v: %v and %v are closer than the limiter allows; %q", takes, last, at, l.requests())
				}
				last = at
			}
			if n, _, _ := m.count(); n != granted {
				l.Errorf("a commit of %v: %d tokens for three requests, want %d", takes, n, granted)
			}
		})
	}
}

// A limiter that fails to give the second token is trouble, and nothing is sent without it.
func TestAtMostOnceLimiterFails(t *testing.T) {
	in(t, func(l *lane) {
		m := &metered{}
		l.queue = &slowRecord{Memory: &l.Memory, takes: time.Second}
		l.limiter = m
		l.options.AtMostOnce = true
		l.put("a")
		l.run()
		l.wait(500 * time.Millisecond)
		m.fail(errors.New("no redis"))
		l.wait(time.Second)
		if st := l.s.Status(); !strings.Contains(st.Held, "no redis") {
			l.Fatalf("Status is %+v, want the reason", st)
		}
		l.wants("")
		m.fail(nil)
		l.wait(time.Minute)
		l.ends("delivered 1")
	})
}

// The end of Run leaves among the dead what was on its way, and gives back what was not.
func TestAtMostOnceEndOfRun(t *testing.T) {
	for answer, want := range map[string]struct{ ends, reason string }{
		"timeout":       {"delivered 0, dead a", unknown + ": context canceled"},
		"1h+ok":         {"delivered 0, dead a", unknown},
		"10s+400ms+ok":  {"delivered 1", ""},
		"10s+400ms+403": {"delivered 0, pending a", ""},
	} {
		t.Run(answer, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.AtMostOnce = true
				l.answer("a", answer)
				l.put("a")
				l.run()
				l.wait(10 * time.Second)
				l.crash()
				l.stop()
				l.ends(want.ends)
				if want.reason != "" && l.item("a").LastErr != want.reason {
					l.Errorf("the reason is %q, want %q", l.item("a").LastErr, want.reason)
				}
			})
		})
	}
}

// Run ends at once while items are being recorded, however long that takes, and gives them back.
func TestAtMostOnceEndOfRunWhileRecording(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &slowRecord{Memory: &l.Memory, takes: time.Minute}
		l.options.AtMostOnce = true
		l.options.Timeout = time.Hour
		l.put("a/1 a/2 b")
		l.run()
		l.wait(time.Second)
		start := time.Now()
		if err := l.stop(); err != nil {
			l.Fatal(err)
		}
		if took := time.Since(start); took > 0 {
			l.Errorf("Run took %v to end", took)
		}
		l.wants("")
		l.ends("delivered 0, pending a/1 a/2 b")
		if c := l.Counts(); c.InFlight != 0 || c.DeadBytes != 0 {
			l.Errorf("the ledger is %+v", c)
		}
		if l.s.Status().Held != "" || l.logged("ERROR") > 0 || l.logged("WARN") > 0 {
			l.Errorf("the end of Run is taken for trouble:\n%s", l.logs.String())
		}
	})
}

// A record that takes longer than Timeout is trouble of the queue, and no abandoned call.
func TestAtMostOnceRecordHangs(t *testing.T) {
	in(t, func(l *lane) {
		q := &slowRecord{Memory: &l.Memory, takes: time.Hour}
		l.queue = q
		l.options.AtMostOnce = true
		l.options.Timeout = 10 * time.Second
		l.put("a")
		l.run()
		l.wait(10*time.Second + 1)
		if st := l.s.Status(); !strings.Contains(st.Held, "record") || st.Abandoned != 0 {
			l.Fatalf("Status is %+v, want the queue to blame", st)
		}
		l.wants("")
		l.stop()
		l.ends("delivered 0, pending a")
	})
}

// The request has its whole Timeout, however long the record took.
func TestAtMostOnceTimeout(t *testing.T) {
	in(t, func(l *lane) {
		l.queue = &slowRecord{Memory: &l.Memory, takes: 9 * time.Second}
		l.options.AtMostOnce = true
		l.options.Timeout = 10 * time.Second
		l.answer("a", "9s+ok")
		l.put("a")
		l.run()
		l.wait(17 * time.Second)
		if n := l.s.Status().Abandoned; n != 0 {
			l.Errorf("%d calls are abandoned before their time", n)
		}
		l.wait(time.Minute)
		l.ends("delivered 1")
	})
}
