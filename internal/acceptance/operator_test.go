package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
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

// A lane of the file is an outbox of its own, and ends with the first one, which closes the file last.
func TestLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, path := t.Context(), newPath(t)
		first, mail := outboxtest.NewTransport(), outboxtest.NewTransport()
		b := open(t, path, first, nil)
		other, err := b.Lane("mail", mail, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, b, "a", "", "first")
		put(t, other, "a", "", "mail")
		if err := errors.Join(b.Drain(ctx), other.Drain(ctx)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(delivered(first), []string{"first"}) || !slices.Equal(delivered(mail), []string{"mail"}) {
			t.Errorf("%q and %q arrived", delivered(first), delivered(mail))
		}
		if names, err := b.Lanes(); err != nil || !slices.Equal(names, []string{"mail", "outbox"}) {
			t.Errorf("%q, %v", names, err)
		}
		if b.Path() != path || other.Path() != path {
			t.Errorf("%q and %q, want %q", b.Path(), other.Path(), path)
		}
		if c, err := b.Lane("mail", nil, nil); c != nil || !errors.Is(err, outbox.ErrLocked) || !strings.HasPrefix(err.Error(), "outbox: lane: ") {
			t.Errorf("a lane that is open: %v", err)
		}
		if _, err := b.Lane("bad", nil, &outbox.Options{Sender: sender.Options{Concurrency: -1}}); err == nil {
			t.Error("a bad option is no error")
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		put(t, b, "a", "", "again")
		if other, err = b.Lane("mail", nil, nil); err != nil {
			t.Fatalf("after its Close: %v", err)
		}
		put(t, other, "a", "", "kept")
		inner, err := other.Lane("inner", mail, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, inner, "a", "", "flushed")
		if err := b.Shutdown(ctx); !errors.Is(err, outbox.ErrPending) || strings.Count(err.Error(), `lane "mail"`) != 1 || strings.Contains(err.Error(), "\n") {
			t.Errorf("Shutdown: %v", err)
		}
		for name, b := range map[string]*outbox.Outbox{"first": b, "mail": other, "inner": inner} {
			if _, err := b.Put(ctx, outbox.Event{}); !errors.Is(err, outbox.ErrClosed) || b.Stats().State != sender.LaneClosed {
				t.Errorf("%s after Shutdown: %v, %s", name, err, b.Stats().State)
			}
			if _, err := b.Lane("late", nil, nil); !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("%s: a lane after Shutdown: %v", name, err)
			}
		}
		if !slices.Equal(delivered(mail), []string{"mail", "flushed"}) {
			t.Errorf("%q arrived", delivered(mail))
		}
		sound(t, path) // and the file is free
	})
}

// After the end no lane is made in the file of a store that the caller keeps open, and nothing is sent.
func TestLaneAfterTheEndOverAStore(t *testing.T) {
	t.Parallel()
	st, err := store.Open(newPath(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	b, err := outbox.New(st, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := b.Lane("late", answer(nil), nil); c != nil || !errors.Is(err, outbox.ErrClosed) {
		t.Errorf("%v", err)
	}
	if names, err := st.Lanes(); err != nil || !slices.Equal(names, []string{"outbox"}) {
		t.Errorf("%q, %v", names, err)
	}
}

// A lane that is opened while the first one ends is refused, or ends with it.
func TestLaneWhileTheFirstEnds(t *testing.T) {
	t.Parallel()
	for range 20 {
		b := open(t, newPath(t), nil, nil)
		opened := make(chan *outbox.Outbox)
		go func() {
			c, err := b.Lane("mail", nil, nil)
			if c == nil && !errors.Is(err, outbox.ErrClosed) {
				t.Error(err)
			}
			opened <- c
		}()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if c := <-opened; c != nil {
			if _, err := c.Put(t.Context(), outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("it goes on: %v", err)
			}
		}
	}
}

// kill fills an outbox with dead events, and pauses it.
func kill(t *testing.T, b *outbox.Outbox, n int) {
	t.Helper()
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.Event{Kind: [2]string{"even", "odd"}[i%2]}
	}
	if _, err := b.PutAll(t.Context(), events...); err != nil {
		t.Fatal(err)
	}
	if err := b.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refusing kills what it gets: each event with a status of its own, so that the lane is not held.
func refusing() sender.Transport {
	var n atomic.Int64
	return sender.TransportFunc(func(context.Context, sender.Item) error {
		if n.Add(1)%5 == 0 {
			return nil
		}
		return sender.Permanent(errors.New("400"))
	})
}

func TestReviveAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := open(t, newPath(t), refusing(), nil)
		kill(t, b, 2000)
		dead := b.Stats().Dead
		if dead < 1200 {
			t.Fatalf("%d are dead", dead)
		}
		// While it runs they die again: each is revived once.
		n, err := b.ReviveAll(ctx, func(*sender.Item) bool { time.Sleep(time.Millisecond); return true })
		if err != nil || n != dead {
			t.Errorf("%d of %d revived: %v", n, dead, err)
		}
		if err := b.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.Pause(ctx, sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		// The end of ctx ends it between commits, and the count is true.
		looked := 0
		short, cancel := context.WithCancel(ctx)
		n, err = b.ReviveAll(short, func(*sender.Item) bool {
			if looked++; looked == 700 {
				cancel()
			}
			return true
		})
		if s := b.Stats(); !errors.Is(err, context.Canceled) || n == 0 || n > 700 || n != s.Pending {
			t.Errorf("%d revived, %d pending: %v", n, s.Pending, err)
		}
		odd := 0
		for it, err := range b.Dead() {
			if err != nil {
				t.Fatal(err)
			}
			if it.Kind == "odd" {
				odd++
			}
		}
		before := b.Stats()
		if n, err = b.ReviveAll(ctx, func(it *sender.Item) bool { return it.Kind == "odd" }); err != nil || n != odd || odd == 0 || before.Dead-b.Stats().Dead != odd {
			t.Errorf("%d of %d odd ones revived: %v", n, odd, err)
		}
		if n, err = b.ReviveAll(ctx, nil); err != nil || n != before.Dead-odd || b.Stats().Dead != 0 {
			t.Errorf("%d of %d revived: %v", n, before.Dead-odd, err)
		}
		if n, err = b.ReviveAll(ctx, nil); err != nil || n != 0 {
			t.Errorf("%d of none revived: %v", n, err)
		}
		if err := b.Check(ctx); err != nil {
			t.Error(err)
		}
	})
}

// One that cannot be read is passed over, wherever it lies, and the error says so.
func TestReviveAllAroundDamage(t *testing.T) {
	t.Parallel()
	for nth := range 3 {
		synctest.Test(t, func(t *testing.T) {
			path := newPath(t)
			b, err := outbox.Open(path, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
				if it.Kind == "bad" {
					return sender.Permanent(errors.New("400"))
				}
				return nil
			}), nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				put(t, b, "bad", "", fmt.Sprint("what died as number ", i))
				put(t, b, "good", "", "")
			}
			if err := errors.Join(b.Drain(t.Context()), b.Close()); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file = bytes.ReplaceAll(file, fmt.Append(nil, "what died as number ", nth), fmt.Append(nil, "WHAT died as number ", nth))
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			if b, err = outbox.Open(path, nil, nil); err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if n, err := b.ReviveAll(t.Context(), nil); n != 2 || err == nil || !errors.Is(err, outbox.ErrCorrupt) || b.Stats().Dead != 1 {
				t.Errorf("%d: %d of 2 revived, %d are dead: %v", nth, n, b.Stats().Dead, err)
			}
		})
	}
}

// At MaxPending it stops, and says how many it revived.
func TestReviveAllUntilFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), refusing(), &outbox.Options{Store: store.Options{MaxPending: 800}})
		kill(t, b, 800)
		kill(t, b, 800)
		if err := b.Pause(t.Context(), sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		n, err := b.ReviveAll(t.Context(), nil)
		if s := b.Stats(); !errors.Is(err, outbox.ErrFull) || n == 0 || n != s.Pending || !strings.HasPrefix(err.Error(), "outbox: revive: lane") {
			t.Errorf("%d revived, %d pending: %v", n, s.Pending, err)
		}
	})
}

func TestObserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), answer(nil), nil)
		var n atomic.Int32
		stop := b.Observe(func(o sender.Outcome) {
			if o.Verdict != sender.Delivered || o.Request == 0 || o.Started.IsZero() {
				t.Errorf("%+v", o)
			}
			n.Add(1)
		})
		put(t, b, "a", "", "1")
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		put(t, b, "a", "", "2")
		if err := b.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n.Load() != 1 {
			t.Errorf("it was told %d outcomes, want 1", n.Load())
		}
	})
}

// What holds a lane names each operation, and who failed, once; and so does what comes of it.
func TestErrorsOfALaneAreSaidOnce(t *testing.T) {
	t.Parallel()
	once := func(t *testing.T, text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if strings.Count(text, p) != 1 {
				t.Errorf("%q is there %d times: %s", p, strings.Count(text, p), text)
			}
		}
		for _, p := range []string{"queue:", "sender:", "\n"} {
			if strings.Contains(text, p) {
				t.Errorf("%q is there: %s", p, text)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		b, err := outbox.Open(path, sender.TransportFunc(func(context.Context, sender.Item) error {
			time.Sleep(time.Second) // a Claim may find the event before its Put has returned
			return os.Rename(path, path+".away")
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Lane("", nil, nil)
		once(t, err.Error(), "outbox: lane: ", path, "0 bytes, 1 to 255")
		once(t, b.SetConcurrency(-1).Error(), "outbox: set concurrency: ", path, "Concurrency is -1")
		var none context.Context
		once(t, b.ClearThrottle(none).Error(), "clear throttle", path, "the context is nil")
		put(t, b, "a", "", "")
		time.Sleep(time.Minute)
		once(t, b.Stats().Held, "store: settle 1 outcomes: ", path, "the storage failed", "the file is gone")
		once(t, b.ClearThrottle(t.Context()).Error(), "clear throttle", path, "the storage failed", "the file is gone")
		once(t, b.Close().Error(), "outbox: shutdown: ", path, "the storage failed", "the file is gone")
	})
	synctest.Test(t, func(t *testing.T) {
		b := open(t, newPath(t), answer(nil), &outbox.Options{Limiter: failingLimiter{limiter.Within(1, time.Second)}})
		put(t, b, "a", "", "")
		time.Sleep(time.Minute)
		once(t, b.Stats().Held, "limiter: ", "no pace")
	})
}

type failingLimiter struct{ *limiter.Limiter }

func (failingLimiter) Wait(context.Context) error { return errors.New("limiter: no pace") }

// A file that is gone is for a restart, or for somebody who puts it back; an outage is for neither.
func TestHealth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testHealth)
}

func testHealth(t *testing.T) {
	path := newPath(t)
	b := open(t, path, nil, nil)
	put(t, b, "a", "", "1")
	if err := b.Health(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := b.Health(); !errors.Is(err, outbox.ErrStorage) || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("before a commit meets it: %v", err)
	}
	if _, err := b.Put(t.Context(), outbox.Event{}); !errors.Is(err, outbox.ErrStorage) {
		t.Fatalf("%v", err)
	}
	if err := b.Health(); !errors.Is(err, outbox.ErrStorage) || !strings.HasPrefix(err.Error(), "outbox: health: ") || strings.Count(err.Error(), path) != 1 {
		t.Errorf("%v", err)
	}
	if s := b.Stats(); s.State != sender.LaneHeld || s.HeldBy != sender.HeldByStorage || !errors.Is(s.HeldErr, outbox.ErrStorage) {
		t.Errorf("%+v", s)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // it tries once a second to heal, triggered by the next call
	put(t, b, "a", "", "2")
	if err := b.Health(); err != nil {
		t.Errorf("after it healed: %v", err)
	}
}
