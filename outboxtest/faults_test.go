package outboxtest_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// judge runs a test that may fail and returns what it failed with.
func judge(t *testing.T, body func(f *fake)) string {
	t.Helper()
	f := &fake{TB: t}
	f.run(func() { body(f) })
	f.end()
	return f.failed()
}

var event = outbox.Event{Kind: "signup", Key: "ann"}

// Each fault of the disk passes a program that handles it, and fails one that does not.
func TestFaultsOfTheDisk(t *testing.T) {
	keepsTrying := func(b *outbox.Outbox) {
		e := event
		e.ID = uuid.New()
		for {
			if _, err := b.Put(context.Background(), e); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	triesWithNewIDs := func(b *outbox.Outbox) {
		for {
			if _, err := b.Put(context.Background(), event); err == nil {
				return
			}
		}
	}
	ignoresErrors := func(b *outbox.Outbox) { b.Put(context.Background(), event) }
	once := func(f *fake, b *outboxtest.Outbox) {
		b.Drain()
		ids := map[uuid.UUID]bool{}
		for _, r := range b.Sent.Requests() {
			ids[r.Items[0].ID] = true
		}
		if len(ids) != 1 {
			f.Errorf("%d events arrived, want one", len(ids))
		}
	}
	for name, c := range map[string]struct {
		fault        func(b *outboxtest.Outbox)
		right, wrong func(b *outbox.Outbox)
		fails        string // how the wrong one fails
	}{
		"full disk": {func(b *outboxtest.Outbox) {
			b.FullDisk(true)
			time.AfterFunc(100*time.Millisecond, func() { b.FullDisk(false) })
		}, keepsTrying, ignoresErrors, "0 events arrived"},
		"failed commit":            {func(b *outboxtest.Outbox) { b.FailCommits(1, false) }, keepsTrying, ignoresErrors, "0 events arrived"},
		"failed and stored commit": {func(b *outboxtest.Outbox) { b.FailCommits(1, true) }, keepsTrying, triesWithNewIDs, "2 events arrived"},
	} {
		t.Run(name, func(t *testing.T) {
			inAndOut(t, func(t *testing.T) {
				play := func(program func(*outbox.Outbox)) string {
					return judge(t, func(f *fake) {
						b := outboxtest.New(f, nil)
						c.fault(b)
						program(b.Outbox)
						once(f, b)
					})
				}
				if got := play(c.right); got != "" {
					t.Errorf("the right program fails: %s", got)
				}
				if got := play(c.wrong); !strings.Contains(got, c.fails) {
					t.Errorf("the wrong program fails with %q, want %s", got, c.fails)
				}
			})
		})
	}
}

// A program that gives a Put a deadline answers while the disk hangs; one that does not waits for it.
func TestHangingDisk(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		play := func(ctx context.Context) string {
			return judge(t, func(f *fake) {
				b := outboxtest.New(f, nil)
				var works atomic.Bool
				hung := b.HangCommits()
				release := func() { works.Store(true); hung() }
				if _, ok := ctx.Deadline(); !ok {
					time.AfterFunc(20*time.Millisecond, release) // or it would wait for ever
				}
				b.Put(ctx, event)
				if works.Load() {
					f.Error("the visitor waited for the disk")
				}
				release()
				b.Drain()
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if got := play(ctx); got != "" {
			t.Errorf("the right program fails: %s", got)
		}
		if got := play(t.Context()); !strings.Contains(got, "the visitor waited") {
			t.Errorf("the wrong program fails with %q", got)
		}
	})
}

// What is queued goes on while the disk is full, and what Put is told is what package outbox says.
func TestErrorsOfTheDisk(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		b := outboxtest.New(t, nil)
		release := b.HangCommits()
		done := make(chan error)
		go func() { _, err := b.Put(t.Context(), event); done <- err }()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := b.Put(ctx, event); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while commits hang: %v", err)
		}
		b.FullDisk(true)
		release()
		if err := <-done; err != nil && !errors.Is(err, outbox.ErrFull) {
			t.Errorf("after the release: %v", err)
		}
		if _, err := b.Put(t.Context(), event); !errors.Is(err, outbox.ErrFull) || !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("on a full disk: %v", err)
		}
		b.Drain()
		b.FullDisk(false)
		for _, stored := range []bool{false, true} {
			b := outboxtest.New(t, nil)
			b.FailCommits(1, stored)
			if _, err := b.Put(t.Context(), event); !errors.Is(err, outbox.ErrStorage) {
				t.Errorf("a failed commit: %v", err)
			}
			r := b.Drain()
			if want := map[bool]int{true: 1}[stored]; len(r.Delivered) != want {
				t.Errorf("stored %t: delivered %d, want %d", stored, len(r.Delivered), want)
			}
		}
	})
}

// A crash loses what was not put, and nothing else.
func TestCrash(t *testing.T) {
	for name, reopen := range map[string]func(*outboxtest.Outbox){"crash": (*outboxtest.Outbox).Crash, "restart": (*outboxtest.Outbox).Restart} {
		t.Run(name, func(t *testing.T) {
			inAndOut(t, func(t *testing.T) {
				play := func(program func(b *outboxtest.Outbox)) string {
					return judge(t, func(f *fake) {
						b := outboxtest.New(f, nil)
						program(b)
						b.Drain()
						b.RequireDelivered(outboxtest.Want{Kind: "signup"})
					})
				}
				if got := play(func(b *outboxtest.Outbox) {
					b.Put(t.Context(), event)
					reopen(b)
				}); got != "" {
					t.Errorf("who puts before he answers fails: %s", got)
				}
				if got := play(func(b *outboxtest.Outbox) {
					queue := make(chan outbox.Event, 1)
					old := b.Outbox
					queue <- event // in memory
					reopen(b)
					if _, err := old.Put(t.Context(), <-queue); !errors.Is(err, outbox.ErrClosed) {
						t.Errorf("the outbox of before gives %v", err)
					}
				}); !strings.Contains(got, "was delivered 0 times") {
					t.Errorf("who answers before he puts fails with %q", got)
				}
			})
		})
	}
}

// Crashes come at any moment: with requests in flight, in the middle of a commit, one after another. What
// Put has said nil to is delivered, in the order of its key.
func TestCrashAtAnyMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport(outboxtest.Slow(time.Hour, outboxtest.Accept()), outboxtest.Hang(), outboxtest.Lose(outboxtest.Accept()))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr})
		var stored []uuid.UUID
		for i := range 10 {
			stored = append(stored, put(t, b, "k", "ann"), put(t, b, "k", ""))
			time.Sleep(time.Duration(i) * 17 * time.Millisecond)
			if i == 5 {
				b.FailCommits(1, true)
			}
			release := b.HangCommits()
			done := make(chan error)
			old := b.Outbox
			go func() { _, err := old.Put(context.Background(), event); done <- err }()
			synctest.Wait()
			b.Crash()
			if err := <-done; err == nil && i != 5 {
				t.Error("a Put that the crash met has returned nil")
			}
			release()
		}
		b.Drain()
		var order []uuid.UUID
		count := map[uuid.UUID]int{}
		for _, r := range tr.Requests() {
			for i, it := range r.Items {
				if r.Errs != nil && r.Errs[i] == nil {
					if count[it.ID]++; it.Key == "ann" && count[it.ID] == 1 {
						order = append(order, it.ID)
					}
				}
			}
		}
		for _, id := range stored {
			if count[id] == 0 {
				t.Errorf("%s was stored and not delivered", id)
			}
		}
		at := 0
		for i, id := range stored {
			if i%2 == 0 {
				for at < len(order) && order[at] != id {
					at++
				}
			}
		}
		if at == len(order) {
			t.Errorf("the order of the key was not kept: %v", order)
		}
	})
}

// With AtMostOnce, what a crash finds in flight is dead, and the report says so.
func TestCrashAtMostOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := outboxtest.New(t, &outboxtest.Options{Transport: outboxtest.NewTransport(outboxtest.Hang()), Outbox: outbox.Options{Sender: sender.Options{AtMostOnce: true}}})
		put(t, b, "mail", "ann")
		synctest.Wait()
		b.Crash()
		if r := b.Drain(); len(r.Dead) != 1 || len(r.Delivered) != 0 {
			t.Errorf("report %+v", r)
		}
		b.RequireDead(outboxtest.Want{Kind: "mail", Where: func(it sender.Item) bool { return strings.Contains(it.LastErr, "answer unknown") }})
	})
}

// A vendor is a transport for a Receiver.
type vendor struct{ v *outboxtest.Receiver }

func (d vendor) Send(ctx context.Context, it sender.Item) error {
	return myTransport(d.v.Client(), d.v.URL).Send(ctx, it)
}

// A transport that obeys 429 passes, and one that takes it for any failure does not.
func TestTransportsWithAndWithoutManners(t *testing.T) {
	for name, c := range map[string]struct {
		deaf bool
		want string
	}{"obeys": {false, ""}, "deaf": {true, "before a Retry-After had passed"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := judge(t, func(f *fake) {
					v := outboxtest.NewReceiver(f, &outboxtest.ReceiverOptions{RetryAfter: outboxtest.IMFDate, Skew: -time.Hour, IDHeader: "Idempotency-Key"})
					v.Script(outboxtest.Fault{}, outboxtest.Fault{Status: http.StatusTooManyRequests, RetryAfter: time.Hour})
					var tr sender.Transport = vendor{v}
					if c.deaf {
						tr = sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
							if err := (vendor{v}).Send(ctx, it); err != nil {
								return errors.New(err.Error()) // the mark is lost
							}
							return nil
						})
					}
					b := outboxtest.New(f, &outboxtest.Options{Transport: tr})
					put(f, b, "k", "ann")
					put(f, b, "k", "ann")
					b.Drain()
					v.RequireManners()
				})
				if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
					t.Errorf("it fails with %q, want %q", got, c.want)
				}
			})
		})
	}
}

// What is on disk counts, though nobody was told: an event whose Put failed, and an outcome whose commit
// failed before the crash.
func TestCrashAfterCommitsThatNobodyHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := outboxtest.New(t, &outboxtest.Options{Transport: outboxtest.NewTransport(outboxtest.Times(2, outboxtest.Slow(time.Second, outboxtest.Accept())))})
		b.FailCommits(1, true)
		if _, err := b.Put(t.Context(), event); !errors.Is(err, outbox.ErrStorage) {
			t.Fatalf("error %v, want ErrStorage", err)
		}
		b.RequireNothingPut() // as far as the program knows
		synctest.Wait()       // it is sent all the same
		b.Crash()
		time.Sleep(500 * time.Millisecond)
		b.FailCommits(1000, true)
		time.Sleep(time.Minute)
		b.Crash()
		if r := b.Drain(); len(r.Delivered) != 1 || r.Dropped != nil || b.Stats().Delivered != 1 {
			t.Errorf("delivered %s, dropped %s, %+v", names(r.Delivered), names(r.Dropped), b.Stats())
		}
	})
}

// In a bubble a goroutine that is left is a deadlock. This is for outside.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	f := &fake{TB: t}
	f.run(func() {
		v := outboxtest.NewReceiver(f, nil)
		v.Script(outboxtest.Fault{Silent: true})
		b := outboxtest.New(f, &outboxtest.Options{Transport: vendor{v}})
		put(f, b, "k", "ann")
		for v.Verdict().Requests == 0 {
			time.Sleep(time.Millisecond)
		}
		b.Crash()
		b.Restart()
		b.HangCommits()
	})
	f.end()
	for runtime.NumGoroutine() > before { // those of net/http end soon after their connections
		time.Sleep(time.Millisecond)
	}
}
