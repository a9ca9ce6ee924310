package acceptance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// Drain waits through failures, a pause and the time of a scheduled event, and for what is put
// meanwhile; the dead do not count.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport(outboxtest.Times(3, outboxtest.Fail("500")), outboxtest.Throttle(10*time.Minute))
		tr.For(outboxtest.Want{Kind: "dead"}, outboxtest.Refuse("400"))
		b := open(t, newPath(t), tr, nil)
		began := time.Now()
		if _, err := b.PutAll(t.Context(), outbox.Event{Key: "k"}, outbox.Event{Kind: "dead"}, outbox.Event{NotBefore: began.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		go func() { drained <- b.Drain(t.Context()) }()
		time.Sleep(30 * time.Minute)
		if _, err := b.Put(t.Context(), outbox.Event{NotBefore: began.Add(2 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		err := <-drained
		if took := time.Since(began); err != nil || took < 2*time.Hour || took > 2*time.Hour+time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		if s := b.Stats(); s.Pending != 0 || s.Dead != 1 || s.Delivered != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// Where it cannot go on, Drain says how many remain and why, once.
func TestDrainSaysWhatRemainsAndWhy(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for _, c := range []struct {
		name      string
		transport sender.Transport
		event     outbox.Event
		stop      func(b *outbox.Outbox) // called while Drain waits; nil: nobody stops it
		want      []string               // in the text; none: nil is returned
		wantErr   error                  // wrapped beside ErrPending; nil: none
		took      time.Duration
	}{
		{name: "held", transport: answer(sender.Unavailable(errors.New("connection refused"))),
			want: []string{"1 pending", "held: ", "connection refused"}, wantErr: context.DeadlineExceeded, took: minute},
		{name: "scheduled", transport: answer(nil), event: outbox.Event{NotBefore: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)},
			want: []string{"1 pending (1 scheduled)"}, wantErr: context.DeadlineExceeded, took: minute},
		{name: "paused", transport: answer(sender.Throttled(errors.New("429"), time.Hour)),
			want: []string{"1 pending", "paused until"}, wantErr: context.DeadlineExceeded, took: minute},
		{name: "no transport", want: []string{"1 pending (1 ready)", "no transport"}},
		{name: "closed", transport: answer(sender.Unavailable(errors.New("refused"))), stop: func(b *outbox.Outbox) { b.Close() },
			want: []string{"1 pending"}, wantErr: outbox.ErrClosed},
		{name: "shut down", transport: outboxtest.NewTransport(outboxtest.Slow(time.Second, outboxtest.Accept())), stop: func(b *outbox.Outbox) { b.Shutdown(context.Background()) }, took: time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := open(t, newPath(t), c.transport, nil)
				if _, err := b.Put(t.Context(), c.event); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), minute)
				defer cancel()
				began := time.Now()
				drained := make(chan error, 1)
				go func() { drained <- b.Drain(ctx) }()
				if c.stop != nil {
					synctest.Wait()
					c.stop(b)
				}
				err := <-drained
				if took := time.Since(began); took < c.took || took > c.took+time.Second {
					t.Errorf("it took %v, %v expected", took, c.took)
				}
				if c.want == nil {
					if err != nil {
						t.Errorf("%v, want nil", err)
					}
					return
				}
				if !errors.Is(err, outbox.ErrPending) || c.wantErr != nil && !errors.Is(err, c.wantErr) {
					t.Fatalf("%v, want ErrPending and %v", err, c.wantErr)
				}
				for _, part := range append(c.want, "outbox: drain: ") {
					if strings.Count(err.Error(), part) != 1 {
						t.Errorf("%q does not say %q once", err, part)
					}
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), answer(nil), nil)
		if err := b.Drain(t.Context()); err != nil {
			t.Errorf("nothing is there: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if err := b.Drain(t.Context()); !errors.Is(err, outbox.ErrClosed) || errors.Is(err, outbox.ErrPending) {
			t.Errorf("after Close: %v", err)
		}
	})
}
