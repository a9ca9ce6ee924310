package acceptance

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

func TestDeliversWhatWasPut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := outboxtest.New(t, nil)
		for i := range 50 {
			put(t, b.Outbox, "track", fmt.Sprint("customer", i%7), fmt.Sprint(i))
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := delivered(b.Sent); len(got) != 50 {
			t.Fatalf("%d events arrived, want 50", len(got))
		}
		if s := b.Stats(); s.Delivered != 50 || s.Pending != 0 || s.Put != 50 {
			t.Errorf("%+v", s)
		}
		ledger(t, b.Stats())
	})
}

// ways are the ways in which a process ends and the next one begins.
var ways = map[string]func(*outboxtest.Outbox){"restart": (*outboxtest.Outbox).Restart, "crash": (*outboxtest.Outbox).Crash}

func TestRestartKeepsBacklogAttemptsAndOrder(t *testing.T) {
	t.Parallel()
	for way, again := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := outboxtest.New(t, nil)
				b.Sent.Outage(10*time.Second, time.Minute)
				b.Sent.Next(outboxtest.Times(2, outboxtest.Fail("503")))
				for i := range 20 {
					put(t, b.Outbox, "track", "a", fmt.Sprint(i))
				}
				time.Sleep(2 * time.Second)
				again(b)
				for it, err := range b.Pending() {
					if err != nil || string(it.Payload) == "0" && it.Failures == 0 {
						t.Fatalf("the first event is %+v, %v; it failed in the process before", it, err)
					}
				}
				b.Drain()
				got := delivered(b.Sent)
				if len(got) != 20 {
					t.Fatalf("%d events arrived, want 20", len(got))
				}
				for i, p := range got {
					if p != fmt.Sprint(i) {
						t.Fatalf("event %s arrived as number %d", p, i)
					}
				}
				ledger(t, b.Stats())
			})
		})
	}
}

func TestRetryAfterOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	for way, again := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := outboxtest.New(t, &outboxtest.Options{
					Transport: outboxtest.NewTransport(outboxtest.Throttle(10 * time.Minute)),
					Outbox:    outbox.Options{Sender: sender.Options{Concurrency: 1}, Limiter: limiter.Within(100, time.Second)},
				})
				put(t, b.Outbox, "track", "", "limit")
				time.Sleep(time.Minute)
				until := b.Sent.Requests()[0].At.Add(10 * time.Minute)
				again(b)
				events := make([]outbox.Event, 200)
				for i := range events {
					events[i] = outbox.Event{Kind: "identify", Payload: fmt.Append(nil, i)}
				}
				if _, err := b.PutAll(t.Context(), events...); err != nil {
					t.Fatal(err)
				}
				if s := b.Stats(); !s.PausedUntil.Equal(until) {
					t.Errorf("paused until %v, told %v", s.PausedUntil, until)
				}
				b.Drain()
				got := b.Sent.Requests()
				if len(got) != 202 {
					t.Fatalf("%d requests, want 202", len(got))
				}
				if early := until.Sub(got[1].At); early > 0 {
					t.Errorf("the first request came %v before the told time", early)
				}
			})
		})
	}
}

// Every event of the backlog failed before the restart. The outage holds the lane all the same, and
// costs a probe a minute instead of a request for each event.
func TestOutageHoldsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	for way, again := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := outboxtest.New(t, nil)
				b.Sent.Next(outboxtest.Always(outboxtest.Fail("the destination is down")))
				for i := range 20 {
					put(t, b.Outbox, "track", "", fmt.Sprint(i))
				}
				time.Sleep(time.Hour) // each was a probe
				again(b)
				time.Sleep(10 * time.Minute)
				before := len(b.Sent.Requests())
				if s := b.Stats(); s.State != sender.LaneHeld || s.HeldBy != sender.HeldByDestination {
					t.Errorf("the lane is %s by %q: %v", s.State, s.HeldBy, s.HeldErr)
				}
				time.Sleep(time.Hour)
				if n := len(b.Sent.Requests()) - before; n < 30 || n > 90 {
					t.Errorf("%d requests in an hour, want about one a minute", n)
				}
			})
		})
	}
}
