package acceptance

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

func TestDeliversWhatWasPut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d destination
		b := open(t, newPath(t), &d, nil)
		for i := range 50 {
			put(t, b, "track", fmt.Sprint("customer", i%7), fmt.Sprint(i))
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := d.delivered(); len(got) != 50 {
			t.Fatalf("%d events arrived, want 50", len(got))
		}
		if s := b.Stats(); s.Delivered != 50 || s.Pending != 0 || s.Put != 50 {
			t.Errorf("%+v", s)
		}
		ledger(t, b.Stats())
	})
}

func TestRestartKeepsBacklogAttemptsAndOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		b := open(t, path, nil, nil)
		for i := range 20 {
			put(t, b, "track", "a", fmt.Sprint(i))
		}
		if err := b.Flush(t.Context()); !errors.Is(err, outbox.ErrPending) {
			t.Fatalf("Flush without a transport: %v, want ErrPending", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		fail := &destination{answers: map[string]func(sender.Item, int) error{
			"track": func(sender.Item, int) error { return errors.New("503") },
		}}
		b = open(t, path, fail, nil)
		time.Sleep(10 * time.Second)
		b.Close()
		var works destination
		b = open(t, path, &works, nil)
		for it, err := range b.Pending() {
			if err != nil || string(it.Payload) == "0" && it.Failures == 0 {
				t.Fatalf("the first event is %+v, %v; it failed in the process before", it, err)
			}
		}
		time.Sleep(2 * time.Minute)
		got := works.delivered()
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
}

func TestRetryAfterOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		d := &destination{answers: map[string]func(sender.Item, int) error{
			"track": func(_ sender.Item, nth int) error {
				if nth == 1 {
					return sender.Throttled(errors.New("429"), 10*time.Minute)
				}
				return nil
			},
		}}
		o := &outbox.Options{Sender: sender.Options{Concurrency: 1}, Limiter: limiter.Within(100, time.Second)}
		b := open(t, path, d, o)
		put(t, b, "track", "", "limit")
		time.Sleep(time.Second)
		told := d.arrivals()[0].at
		b.Close()

		time.Sleep(time.Minute)
		again := &destination{}
		o.Limiter = limiter.Within(100, time.Second)
		b = open(t, path, again, o)
		events := make([]outbox.Event, 200)
		for i := range events {
			events[i] = outbox.Event{Kind: "identify", Payload: fmt.Append(nil, i)}
		}
		if _, err := b.PutAll(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
		if s := b.Stats(); !s.PausedUntil.Equal(told.Add(10 * time.Minute)) {
			t.Errorf("paused until %v, told %v", s.PausedUntil, told.Add(10*time.Minute))
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := again.arrivals()
		if len(got) != 201 {
			t.Fatalf("%d requests, want 201", len(got))
		}
		if early := told.Add(10 * time.Minute).Sub(got[0].at); early > 0 {
			t.Errorf("the first request came %v before the told time", early)
		}
	})
}
