package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// brittle is an error whose Error panics from a certain call on.
type brittle struct{ left *atomic.Int64 }

func (m brittle) Error() string {
	if m.left.Add(-1) < 0 {
		panic("hush")
	}
	return "brittle"
}

// TestHostileTransport is the table of transports that do one event harm in the worst way they
// know. The others of the lane are delivered meanwhile, the bad one is accounted for with a short
// reason, nothing tells a secret, and all ends in time.
func TestHostileTransport(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 8<<20)
	for name, harm := range map[string]func(context.Context) error{
		"panics":                func(context.Context) error { panic("hush") },
		"ends its goroutine":    func(context.Context) error { runtime.Goexit(); return nil },
		"dereferences nil":      func(context.Context) error { var p *sender.Item; return errors.New(p.Kind) },
		"hangs to the deadline": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"hangs beyond it":       func(context.Context) error { time.Sleep(3 * time.Minute); return errors.New("late") },
		"a huge error":          func(context.Context) error { return errors.New(huge) },
		"a huge marked error":   func(context.Context) error { return sender.Permanent(errors.New(huge)) },
		"huge errors, joined": func(context.Context) error {
			return errors.Join(errors.New(huge), errors.New(huge))
		},
		"an error that panics":             func(context.Context) error { return brittle{new(atomic.Int64)} },
		"an error that panics when marked": func(context.Context) error { return sender.Unavailable(brittle{new(atomic.Int64)}) },
		"an error that panics the second time": func(context.Context) error {
			m := brittle{new(atomic.Int64)}
			m.left.Store(1)
			return m
		},
		"an error that panics the third time": func(context.Context) error {
			m := brittle{new(atomic.Int64)}
			m.left.Store(2)
			return sender.Permanent(m)
		},
	} {
		for _, once := range []bool{false, true} {
			if once && testing.Short() {
				continue
			}
			t.Run(fmt.Sprintf("%s, at most once %t", name, once), func(t *testing.T) {
				t.Parallel()
				var logged bytes.Buffer
				synctest.Test(t, func(t *testing.T) {
					path := newPath(t)
					tr := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
						if string(it.Payload) == "hush bad" {
							return harm(ctx)
						}
						return nil
					})
					var mu sync.Mutex
					b := open(t, path, tr, &outbox.Options{Sender: sender.Options{
						MaxAttempts: 2, AtMostOnce: once, Logger: slog.New(slog.NewTextHandler(locked{&mu, &logged}, nil)),
					}})
					put(t, b, "track", "bad", "hush bad")
					for i := range 8 {
						put(t, b, "track", fmt.Sprint(i%3), fmt.Sprint("hush ", i))
						time.Sleep(10 * time.Second)
					}
					time.Sleep(10 * time.Minute)
					s := b.Stats()
					ledger(t, s)
					if s.Delivered != 8 || s.Pending+s.Dead != 1 {
						t.Errorf("want all delivered but one: %+v", s)
					}
					for _, list := range []func(func(sender.Item, error) bool){b.Pending(), b.Dead()} {
						for it, err := range list {
							if err != nil || len(it.LastErr) > 1024 || it.LastErr == "" || strings.Contains(it.LastErr, "hush") {
								t.Errorf("%v, LastErr of %d bytes: %.100q", err, len(it.LastErr), it.LastErr)
							}
						}
					}
					began := time.Now()
					b.Close()
					if took := time.Since(began); took > 6*time.Second {
						t.Errorf("Close took %v", took)
					}
					time.Sleep(10 * time.Minute) // what hangs ends by itself
					mu.Lock()
					defer mu.Unlock()
					if logged.Len() > 16<<10 || strings.Contains(logged.String(), "hush") {
						t.Errorf("%d bytes were logged: %.500s", logged.Len(), logged.String())
					}
				})
			})
		}
	}
}

// locked is a writer that many may use.
type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// A transport that returns nil after its deadline has delivered, and is not sent the event again.
func TestLateSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		b := open(t, newPath(t), sender.TransportFunc(func(context.Context, sender.Item) error {
			calls.Add(1)
			time.Sleep(time.Hour)
			return nil
		}), &outbox.Options{Sender: sender.Options{Timeout: time.Second}})
		put(t, b, "track", "a", "1")
		put(t, b, "track", "a", "2")
		time.Sleep(30 * time.Minute)
		if s := b.Stats(); s.Abandoned != 1 || s.Delivered != 0 || calls.Load() != 1 {
			t.Errorf("meanwhile: %d calls, %+v", calls.Load(), s)
		}
		time.Sleep(2 * time.Hour)
		if s := b.Stats(); s.Abandoned != 0 || s.Delivered != 2 || calls.Load() != 2 {
			t.Errorf("afterwards: %d calls, %+v", calls.Load(), s)
		}
	})
}

// An error costs no more than itself, however long it is, and no more than a kilobyte of it is
// kept.
func TestHugeError(t *testing.T) {
	said := errors.New(strings.Repeat("x", 128<<20))
	for _, once := range []bool{false, true} {
		for _, err := range []error{said, sender.Permanent(said), sender.Later(said, time.Hour), sender.Unavailable(said)} {
			synctest.Test(t, func(t *testing.T) {
				b := open(t, newPath(t), answer(err), &outbox.Options{Sender: sender.Options{AtMostOnce: once}})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				put(t, b, "track", "", "x")
				time.Sleep(time.Minute)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
					t.Errorf("%T, at most once %t: %d MiB were allocated for an error of 128", err, once, n>>20)
				}
				for _, list := range []func(func(sender.Item, error) bool){b.Pending(), b.Dead()} {
					for it, err := range list {
						if err != nil || len(it.LastErr) != 1024 {
							t.Errorf("%v, LastErr of %d bytes", err, len(it.LastErr))
						}
					}
				}
			})
		}
	}
}

// Several outboxes of one process (fifty if long) keep one limit together. Each keeps its own order
// and its own counts, and all of them end.
func TestManyOutboxes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const each = 20
		boxes := campaign.Pick(50, 10, 4)
		shared := limiter.Within(100, time.Second)
		starts := make(chan time.Time, boxes*each)
		all := make([]*outbox.Outbox, boxes)
		got := make([]*outboxtest.Transport, boxes)
		for i := range all {
			got[i] = outboxtest.NewTransport()
			all[i] = open(t, newPath(t), sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
				starts <- time.Now()
				return got[i].Send(ctx, it)
			}), &outbox.Options{Limiter: shared})
		}
		var wg sync.WaitGroup
		for i, b := range all {
			wg.Go(func() {
				events := make([]outbox.Event, each)
				for n := range events {
					events[n] = outbox.Event{Key: "key", Payload: fmt.Append(nil, i, "-", n)}
				}
				if _, err := b.PutAll(t.Context(), events...); err != nil {
					t.Error(err)
				}
				if err := b.Shutdown(t.Context()); err != nil {
					t.Errorf("outbox %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for i, b := range all {
			ledger(t, b.Stats())
			names := delivered(got[i])
			if len(names) != each {
				t.Errorf("outbox %d delivered %d of %d", i, len(names), each)
			}
			for n, name := range names {
				if name != fmt.Sprint(i, "-", n) {
					t.Errorf("outbox %d: %s arrived as number %d", i, name, n)
				}
			}
		}
		close(starts)
		var times []time.Time
		for at := range starts {
			times = append(times, at)
		}
		if most := busiest(times, time.Second); most > 100 {
			t.Errorf("%d requests within a second, 100 allowed", most)
		}
	})
}

// busiest is the largest number of times, which are in order, within any window.
func busiest(times []time.Time, window time.Duration) (most int) {
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
