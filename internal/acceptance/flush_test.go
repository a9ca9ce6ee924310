package acceptance

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

func TestFlushSaysWhatRemainsAndWhy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		transport sender.Transport
		event     outbox.Event
		time      time.Duration // of ctx
		want      []string      // in the text of the error; none: nil
		wantErr   error         // wrapped beside ErrPending; nil: none
		within    time.Duration
	}{
		{name: "delivered", transport: answer(nil), time: time.Second},
		{name: "dead at once", transport: answer(sender.Permanent(errors.New("400"))), time: time.Second},
		{name: "held", transport: answer(sender.Unavailable(errors.New("connection refused"))), time: 500 * time.Millisecond,
			want: []string{"1 pending", "held", "connection refused", "the next probe is at"}},
		{name: "retrying", transport: answer(errors.New("500")), time: time.Minute,
			want: []string{"1 pending", "1 retrying"}},
		{name: "paused beyond the deadline", transport: answer(sender.Throttled(errors.New("429"), time.Hour)), time: time.Minute,
			want: []string{"1 pending", "paused until"}},
		{name: "scheduled", transport: answer(nil), event: outbox.Event{NotBefore: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}, time: time.Minute,
			want: []string{"1 pending", "1 scheduled"}},
		{name: "no transport", time: time.Minute, want: []string{"1 pending", "1 ready", "no transport"}},
		{name: "slow", transport: outboxtest.NewTransport(outboxtest.Always(outboxtest.Hang())), time: 2 * time.Second, want: []string{"1 in flight"}, wantErr: context.DeadlineExceeded, within: 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := open(t, newPath(t), c.transport, nil)
				if _, err := b.Put(t.Context(), c.event); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.time)
				defer cancel()
				began := time.Now()
				err := b.Flush(ctx)
				if took := time.Since(began); took > c.within+100*time.Millisecond {
					t.Errorf("it took %v, %v expected", took, c.within)
				}
				if c.want == nil {
					if err != nil {
						t.Errorf("%v, want nil", err)
					}
					return
				}
				if !errors.Is(err, outbox.ErrPending) || c.wantErr != nil && !errors.Is(err, c.wantErr) || c.wantErr == nil && errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("%v, want ErrPending and %v", err, c.wantErr)
				}
				for _, part := range c.want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
			})
		})
	}
}

func TestFlushOfAnEmptyOutbox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tr := range []sender.Transport{nil, answer(nil)} {
			b := open(t, newPath(t), tr, nil)
			began := time.Now()
			if err := b.Flush(t.Context()); err != nil || time.Since(began) > 100*time.Millisecond {
				t.Errorf("%v, after %v", err, time.Since(began))
			}
		}
	})
}

// What a transport may do to its own outbox, and what it may do to itself.
func TestTransportThatCallsItsOutboxOrBreaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(b *outbox.Outbox)
	}{
		{"panics", func(*outbox.Outbox) { panic("broken") }},
		{"panics with an error", func(*outbox.Outbox) { panic(errors.New("broken")) }},
		{"ends its goroutine", func(*outbox.Outbox) { runtime.Goexit() }},
		{"puts", func(b *outbox.Outbox) {
			if _, err := b.Put(context.Background(), outbox.Event{Kind: "another"}); err != nil {
				panic(err)
			}
		}},
		{"asks for Stats", func(b *outbox.Outbox) {
			if s := b.Stats(); s.InFlight != 1 {
				panic(s)
			}
		}},
		{"flushes", func(b *outbox.Outbox) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				panic(err)
			}
		}},
		{"drops itself", func(b *outbox.Outbox) {
			for it := range b.Pending() {
				if _, err := b.Drop(context.Background(), it); err != nil {
					panic(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var b atomic.Pointer[outbox.Outbox]
				var n, others atomic.Int32
				b.Store(open(t, newPath(t), sender.TransportFunc(func(_ context.Context, it sender.Item) error {
					if it.Kind == "another" {
						others.Add(1)
					} else if n.Add(1) == 1 {
						c.do(b.Load())
					}
					return nil
				}), nil))
				put(t, b.Load(), "track", "a", "first")
				put(t, b.Load(), "track", "a", "second")
				time.Sleep(time.Minute)
				s := b.Load().Stats()
				if s.Pending != 0 || int32(s.Delivered+s.Dropped) != 2+others.Load() || s.Put != s.Delivered+s.Dropped {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestListenerMayPutAndMayPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b atomic.Pointer[outbox.Outbox]
		d := outboxtest.NewTransport()
		b.Store(open(t, newPath(t), d, &outbox.Options{Sender: sender.Options{OnOutcome: func(o sender.Outcome, _ time.Duration) {
			if o.Item.Kind != "receipt" {
				if _, err := b.Load().Put(context.Background(), outbox.Event{Kind: "receipt", Payload: []byte("receipt")}); err != nil {
					t.Error(err)
				}
			}
			panic("the listener is broken")
		}}}))
		put(t, b.Load(), "track", "", "one")
		put(t, b.Load(), "track", "", "two")
		time.Sleep(time.Second)
		if got := delivered(d); len(got) != 4 {
			t.Errorf("%q arrived, want two events and two receipts", got)
		}
		ledger(t, b.Load().Stats())
	})
}

func TestLanesShareALimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		st, err := store.Open(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		shared := limiter.Within(20, time.Second)
		d := outboxtest.NewTransport()
		d.For(outboxtest.Want{Kind: "limited"}, outboxtest.Throttle(time.Minute))
		var lanes []*outbox.Outbox
		for _, name := range []string{"first", "second", "third"} {
			lane, err := st.Lane(name, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, err := outbox.New(lane, d, &outbox.Options{Limiter: shared})
			if err != nil {
				t.Fatal(err)
			}
			lanes = append(lanes, b)
		}
		var wg sync.WaitGroup
		for i, b := range lanes {
			events := make([]outbox.Event, 40)
			for n := range events {
				events[n] = outbox.Event{Kind: "track", Payload: []byte("x")}
			}
			if i == 0 {
				events[20] = outbox.Event{Kind: "limited", Payload: []byte("limit")} // its 429 is for all lanes
			}
			if _, err := b.PutAll(t.Context(), events...); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := b.Flush(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := d.Requests()
		if len(got) != 121 {
			t.Fatalf("%d requests, want 120 and one repeated", len(got))
		}
		told := slices.IndexFunc(got, func(r outboxtest.Request) bool { return r.Errs[0] != nil })
		for _, r := range got[told+1:] {
			if d := r.At.Sub(got[told].At); d > 0 && d < time.Minute {
				t.Fatalf("a request %v after a Retry-After of a minute", d)
			}
		}
		for i := 20; i < len(got); i++ {
			if d := got[i].At.Sub(got[i-20].At); d < time.Second {
				t.Fatalf("21 requests within %v, 20 a second allowed", d)
			}
		}
		for _, b := range lanes {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		sound(t, path)
	})
}

// What is put after the call does not keep Flush waiting for the outcomes of what was there before.
func TestFlushBesideTraffic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := outboxtest.NewTransport(outboxtest.Always(outboxtest.Slow(50*time.Millisecond, outboxtest.Accept())))
		b := open(t, newPath(t), slow, &outbox.Options{Store: store.Options{Gather: time.Minute}})
		put := func(n int) {
			if _, err := b.PutAll(t.Context(), make([]outbox.Event, n)...); err != nil {
				t.Error(err)
			}
		}
		put(40) // ten at a time: 200 ms
		var later sync.WaitGroup
		later.Go(func() {
			time.Sleep(20 * time.Millisecond)
			put(400)
		})
		began := time.Now()
		// It says that more is pending by now.
		if err := b.Flush(t.Context()); err != nil && !errors.Is(err, outbox.ErrPending) {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 200*time.Millisecond || took > 400*time.Millisecond {
			t.Errorf("it took %v, the items before it 200ms", took)
		}
		later.Wait()
	})
}
