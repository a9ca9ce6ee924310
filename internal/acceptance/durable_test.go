package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// counted is a store that counts how often the sender asks it for work.
type counted struct {
	*store.Store
	claims atomic.Int64
}

func (c *counted) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	c.claims.Add(1)
	return c.Store.Claim(ctx, now, max, maxBytes)
}

// openCounted opens an outbox over a counted store.
func openCounted(t *testing.T, tr sender.Transport, o *outbox.Options) (*counted, *outbox.Outbox) {
	t.Helper()
	st, err := store.Open(newPath(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &counted{Store: st}
	b, err := outbox.New(c, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), st.Check(context.Background()), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, b
}

func TestIdleCostsNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		event  outbox.Event
		claims int64 // at most, in a day
	}{
		{"empty", outbox.Event{}, 0},
		// The wall clock may be set, so that it is looked at once a minute.
		{"scheduled in a year", outbox.Event{NotBefore: time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}, 24 * 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				st, b := openCounted(t, answer(nil), nil)
				if _, err := b.Put(t.Context(), c.event); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				file, err := os.ReadFile(st.Path())
				if err != nil {
					t.Fatal(err)
				}
				info, err := os.Stat(st.Path())
				if err != nil {
					t.Fatal(err)
				}
				before := st.claims.Load()

				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if n := st.claims.Load() - before; n > c.claims {
					t.Errorf("the queue was asked %d times in a day, at most %d expected", n, c.claims)
				}
				after, err := os.ReadFile(st.Path())
				if err != nil {
					t.Fatal(err)
				}
				now, err := os.Stat(st.Path())
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(after, file) || !now.ModTime().Equal(info.ModTime()) {
					t.Error("the file was written to")
				}
			})
		})
	}
}

func TestFailingKeyCostsTheOthersNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("processes, and seconds of real time: not with -short")
	}
	t.Parallel()
	// run delivers a thousand events without a key, behind so many of a key that fails.
	run := func(t *testing.T, behind int) (took time.Duration, claims int64) {
		synctest.Test(t, func(t *testing.T) {
			var last atomic.Pointer[time.Time]
			st, b := openCounted(t, nil, nil)
			for range behind / 1000 {
				es := make([]outbox.Event, 1000)
				for i := range es {
					es[i] = outbox.Event{Kind: "bad", Key: "broken"}
				}
				if _, err := b.PutAll(t.Context(), es...); err != nil {
					t.Fatal(err)
				}
			}
			es := make([]outbox.Event, 1000)
			for i := range es {
				es[i] = outbox.Event{Kind: "track", Payload: fmt.Append(nil, i)}
			}
			if _, err := b.PutAll(t.Context(), es...); err != nil {
				t.Fatal(err)
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}

			began := time.Now()
			b, err := outbox.New(st, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
				time.Sleep(100 * time.Millisecond)
				if it.Kind == "bad" {
					return errors.New("500")
				}
				now := time.Now()
				last.Store(&now)
				return nil
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			for b.Stats().Delivered < 1000 && time.Since(began) < time.Hour {
				time.Sleep(time.Second)
			}
			took, claims = last.Load().Sub(began), st.claims.Load()
			if s := b.Stats(); s.Delivered != 1000 || s.Pending != behind {
				t.Errorf("%+v", s)
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return took, claims
	}
	alone, claims := run(t, 0)
	behind, more := run(t, 10_000)
	t.Logf("alone %v, %d claims; behind ten thousand %v, %d claims", alone, claims, behind, more)
	if behind > alone+alone/20 {
		t.Errorf("1,000 events take %v behind 10,000 of a failing key, %v alone", behind, alone)
	}
	if more > claims+claims/20 {
		t.Errorf("1,000 events take %d claims behind 10,000 of a failing key, %d alone", more, claims)
	}
}

// Check reads what belongs to the goroutine that commits.
func TestCheckOfABusyOutbox(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of real time: not with -short")
	}
	t.Parallel()
	b := open(t, newPath(t), nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := b.Put(context.Background(), outbox.Event{Payload: make([]byte, 3000)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 100 {
		if err := b.Check(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	<-done
}

// failing is a store whose disk has failed.
type failing struct{ *store.Store }

func (f failing) Counts() sender.Counts {
	c := f.Store.Counts()
	c.Err = fmt.Errorf("%w: input/output error", sender.ErrStorage)
	return c
}

func TestStatsTellOfAFailedDisk(t *testing.T) {
	t.Parallel()
	st, err := store.Open(newPath(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := outbox.New(failing{st}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := b.Stats(); !strings.Contains(s.Held, "input/output error") {
		t.Errorf("held: %q", s.Held)
	}
	if err := errors.Join(b.Close(), st.Close()); err != nil {
		t.Error(err)
	}
}
