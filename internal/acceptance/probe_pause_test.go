package acceptance

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A prober answers a harmless request by probe, and an item by send.
type prober struct {
	send  sender.TransportFunc
	probe func() error
}

func (p prober) Send(ctx context.Context, it sender.Item) error { return p.send(ctx, it) }
func (p prober) Probe(context.Context) error                    { return p.probe() }

// The pause that a Prober was told holds after a restart, and no callback hears of it.
func TestPauseOfAProberAfterARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path, began := newPath(t), time.Now()
		o := &outbox.Options{Sender: sender.Options{AtMostOnce: true, Concurrency: 1, OnOutcome: func(out sender.Outcome, _ time.Duration) {
			if out.Item.Payload == nil {
				t.Errorf("an outcome without an item: %+v", out)
			}
		}}}
		b := open(t, path, prober{
			send:  func(context.Context, sender.Item) error { return errors.New("no answer") },
			probe: func() error { return sender.Throttled(errors.New("too many"), time.Hour) },
		}, o)
		put(t, b, "a", "", "1")
		put(t, b, "a", "", "2")
		time.Sleep(30 * time.Second)
		until := b.Stats().PausedUntil
		if until.Before(began.Add(time.Hour)) {
			t.Fatalf("it is paused until %v", until)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		var sent time.Time
		b = open(t, path, prober{
			send:  func(context.Context, sender.Item) error { sent = time.Now(); return nil },
			probe: func() error { return nil },
		}, o)
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sent.Before(until) {
			t.Errorf("sent %v before the end of the pause", until.Sub(sent))
		}
	})
}

// An observer that hears of a 429 may clear it at once.
func TestClearThrottleFromAnObserver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := open(t, newPath(t), sender.TransportFunc(func(context.Context, sender.Item) error {
			if time.Since(began) < time.Second {
				return sender.Throttled(errors.New("too many"), 23*time.Hour)
			}
			return nil
		}), nil)
		defer b.Observe(func(o sender.Outcome) {
			if o.PauseUntil.IsZero() {
				return
			}
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := b.ClearThrottle(ctx); err != nil {
				t.Errorf("%v", err)
			}
		})()
		put(t, b, "a", "", "1")
		put(t, b, "a", "", "2")
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("delivered after %v", took)
		}
	})
}
