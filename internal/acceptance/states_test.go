package acceptance

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// The word for a lane: what is broken, who paused it, what it does.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			hang bool
			err  error
		}
		var answers atomic.Pointer[answer]
		answers.Store(&answer{hang: true})
		b, err := outbox.New(new(sendertest.Memory), sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
			a := answers.Load()
			if a.hang {
				<-ctx.Done() // the timeout
				return ctx.Err()
			}
			return a.err
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		ctx := t.Context()
		is := func(want sender.LaneState) {
			t.Helper()
			synctest.Wait()
			if got := b.Stats(); got.State != want {
				t.Errorf("%s, want %s: %+v", got.State, want, got)
			}
			if err := b.Health(); (err != nil) != (want == sender.LaneClosed) {
				t.Errorf("%s: health %v", want, err)
			}
		}
		put := func(e outbox.Event) {
			t.Helper()
			if _, err := b.Put(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		is(sender.LaneIdle)
		put(outbox.Event{NotBefore: time.Now().Add(24 * time.Hour)})
		is(sender.LaneWaiting)
		put(outbox.Event{})
		is(sender.LaneSending)
		answers.Store(&answer{err: sender.Unavailable(errors.New("no route"))})
		time.Sleep(time.Minute)
		is(sender.LaneHeld)
		if s := b.Stats(); s.HeldBy != sender.HeldByDestination || s.HeldErr == nil || s.Probe.Before(time.Now()) || s.Requests == 0 || s.Concurrency != 10 {
			t.Errorf("%+v", s)
		}
		answers.Store(&answer{err: sender.Throttled(errors.New("429"), time.Hour)})
		time.Sleep(2 * time.Minute)
		is(sender.LaneThrottled)
		if err := b.Pause(ctx, sender.Pause{By: "ann", Reason: "a move"}); err != nil {
			t.Fatal(err)
		}
		is(sender.LanePaused)
		if p := b.Stats().OperatorPause; p.By != "ann" || p.Reason != "a move" || p.Since.IsZero() {
			t.Errorf("%+v", p)
		}
		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		began := time.Now()
		if err := b.Flush(short); !errors.Is(err, outbox.ErrPending) || !strings.Contains(err.Error(), "paused by its operator") || time.Since(began) > time.Second {
			t.Errorf("Flush after %v: %v", time.Since(began), err)
		}
		answers.Store(new(answer))
		if err := errors.Join(b.Resume(ctx), b.ClearThrottle(ctx), b.SetConcurrency(3)); err != nil {
			t.Error(err)
		}
		put(outbox.Event{})
		time.Sleep(time.Second)
		is(sender.LaneWaiting)
		if s := b.Stats(); s.Concurrency != 3 || s.Delivered != 1 {
			t.Errorf("%+v", s)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		is(sender.LaneClosed)
		if err := b.Health(); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}
