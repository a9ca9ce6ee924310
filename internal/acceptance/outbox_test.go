package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// destination is a transport that records what it is sent, and answers by the kind of the item.
type destination struct {
	mu      sync.Mutex
	answers map[string]func(it sender.Item, nth int) error // by Kind; others succeed
	nth     map[string]int                                 // requests so far, by payload
	got     []arrival
}

type arrival struct {
	at   time.Time
	item sender.Item
	err  error
}

func (d *destination) Send(ctx context.Context, it sender.Item) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nth == nil {
		d.nth = make(map[string]int)
	}
	d.nth[string(it.Payload)]++
	var err error
	if answer := d.answers[it.Kind]; answer != nil {
		err = answer(it, d.nth[string(it.Payload)])
	}
	d.got = append(d.got, arrival{time.Now(), it, err})
	return err
}

// delivered returns the payloads accepted so far, in order.
func (d *destination) delivered() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.got {
		if a.err == nil {
			names = append(names, string(a.item.Payload))
		}
	}
	return names
}

func (d *destination) arrivals() []arrival {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]arrival(nil), d.got...)
}

func open(t *testing.T, path string, tr sender.Transport, o *outbox.Options) *outbox.Outbox {
	t.Helper()
	b, err := outbox.Open(path, tr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		sound(t, path)
	})
	return b
}

// sound runs Check over a closed outbox.
func sound(t *testing.T, path string) {
	t.Helper()
	st, err := store.Open(path, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer st.Close()
	if err := st.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, b *outbox.Outbox, kind, key, payload string) {
	t.Helper()
	if _, err := b.Put(t.Context(), outbox.Event{Kind: kind, Key: key, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "outbox.db") }

// ledger checks that every event put is accounted for.
func ledger(t *testing.T, s outbox.Stats) {
	t.Helper()
	if sum := uint64(s.Pending+s.Dead) + s.Delivered + s.Expired + s.Dropped; sum != s.Put {
		t.Errorf("put %d, accounted for %d: %+v", s.Put, sum, s)
	}
	if sum := s.Ready + s.Scheduled + s.Retrying + s.InLine + s.InFlight; sum != s.Pending {
		t.Errorf("pending %d, its parts come to %d: %+v", s.Pending, sum, s)
	}
}

func TestDeliversWhatWasPut(t *testing.T) {
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
		for i := range 200 {
			put(t, b, "identify", "", fmt.Sprint(i))
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

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
