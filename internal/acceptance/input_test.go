package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

func TestInputThatIsRefused(t *testing.T) {
	t.Parallel()
	year := func(y int) time.Time { return time.Date(y, 6, 1, 0, 0, 0, 0, time.UTC) }
	long := strings.Repeat("k", 40<<10)
	for _, c := range []struct {
		name  string
		event outbox.Event
		want  error
		says  []string
	}{
		{"kind", outbox.Event{Kind: long}, outbox.ErrInvalid, []string{"Kind", "40960", "1024"}},
		{"key", outbox.Event{Key: long}, outbox.ErrInvalid, []string{"Key", "40960", "1024"}},
		{"header", outbox.Event{Header: map[string]string{"a": long, "b": long}}, outbox.ErrInvalid, []string{"Header", "81922", "65536"}},
		{"payload", outbox.Event{Payload: make([]byte, 1001)}, sender.ErrTooLarge, []string{"payload", "1001", "1000"}},
		{"expires first", outbox.Event{NotBefore: year(2030), Expires: year(2029)}, outbox.ErrInvalid, []string{"Expires", "2029", "NotBefore", "2030"}},
		{"expires at once", outbox.Event{NotBefore: year(2030), Expires: year(2030)}, outbox.ErrInvalid, []string{"Expires", "NotBefore", "2030"}},
		{"year 1", outbox.Event{NotBefore: year(1)}, outbox.ErrInvalid, []string{"NotBefore", "0001", "1970", "2262"}},
		{"year 1969", outbox.Event{Expires: year(1969)}, outbox.ErrInvalid, []string{"Expires", "1969", "1970", "2262"}},
		{"the first second", outbox.Event{NotBefore: time.Unix(0, 0).UTC()}, outbox.ErrInvalid, []string{"NotBefore", "1970-01-01T00:00:00Z", "2262"}},
		{"year 2263", outbox.Event{NotBefore: year(2263)}, outbox.ErrInvalid, []string{"NotBefore", "2263", "2262"}},
		{"year 9999", outbox.Event{Expires: year(9999)}, outbox.ErrInvalid, []string{"Expires", "9999", "2262"}},
		{"the last year", outbox.Event{Expires: time.Date(2262, 12, 31, 0, 0, 0, 0, time.UTC)}, outbox.ErrInvalid, []string{"Expires", "2262-12-31", "2262-04-11"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := open(t, newPath(t), nil, &outbox.Options{Store: store.Options{MaxPayload: 1000}})
			_, one := b.Put(t.Context(), c.event)
			good := outbox.Event{Payload: []byte("good")}
			_, many := b.PutAll(t.Context(), good, c.event, good)
			for _, err := range []error{one, many} {
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
					continue
				}
				for _, part := range c.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%q does not say %q", err, part)
					}
				}
				if !strings.HasPrefix(err.Error(), "outbox: ") {
					t.Errorf("%q does not begin with the package", err)
				}
			}
			if s := b.Stats(); s.Put != 0 {
				t.Errorf("%d stored", s.Put)
			}
		})
	}
}

func TestInputThatIsTaken(t *testing.T) {
	t.Parallel()
	odd := "\xff\x00\xfe \u2028"
	for _, c := range []struct {
		name  string
		event outbox.Event
	}{
		{"nothing at all", outbox.Event{}},
		{"invalid UTF-8 and NUL", outbox.Event{Kind: odd, Key: odd, Header: map[string]string{odd: odd, "": ""}, Payload: []byte(odd)}},
		{"the longest names", outbox.Event{Kind: strings.Repeat("k", 1024), Key: strings.Repeat("k", 1024), Header: map[string]string{"a": strings.Repeat("h", 64<<10-1)}}},
		{"the largest payload", outbox.Event{Payload: make([]byte, 4<<20)}},
		{"scheduled in the past", outbox.Event{NotBefore: time.Unix(1, 0)}},
		{"good for 262 years", outbox.Event{Expires: time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC)}},
		{"with an ID", outbox.Event{ID: uuid.MustParse("00000000-0000-0000-0000-000000000001")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := outboxtest.NewTransport()
				b := open(t, newPath(t), d, nil)
				id, err := b.Put(t.Context(), c.event)
				if err == nil {
					err = b.Flush(t.Context())
				}
				got := d.Requests()
				if err != nil || len(got) != 1 {
					t.Fatalf("%d arrived, %v", len(got), err)
				}
				it, e := got[0].Items[0], c.event
				if it.ID != id || e.ID != uuid.Nil && e.ID != id || it.Kind != e.Kind || it.Key != e.Key || string(it.Payload) != string(e.Payload) || fmt.Sprint(it.Header) != fmt.Sprint(e.Header) {
					t.Error("what arrived is not what was put")
				}
			})
		})
	}
}

func TestScheduledFarAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := outboxtest.NewTransport()
		b := open(t, newPath(t), d, nil)
		if _, err := b.Put(t.Context(), outbox.Event{NotBefore: time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC)}); err != nil {
			t.Fatal(err)
		}
		put(t, b, "track", "", "now")
		time.Sleep(time.Hour)
		if got := delivered(d); !slices.Equal(got, []string{"now"}) || b.Stats().Scheduled != 1 {
			t.Errorf("%q arrived, %+v", got, b.Stats())
		}
	})
}

func TestCallerMayReuseItsBuffers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := outboxtest.NewTransport()
		b := open(t, newPath(t), d, nil)
		payload, header := []byte("as it was"), map[string]string{"a": "as it was"}
		if _, err := b.Put(t.Context(), outbox.Event{Payload: payload, Header: header, NotBefore: time.Now().Add(time.Second)}); err != nil {
			t.Fatal(err)
		}
		copy(payload, "as it is!")
		header["a"] = "as it is!"
		time.Sleep(2 * time.Second)
		got := d.Requests()
		if len(got) != 1 || string(got[0].Items[0].Payload) != "as it was" || got[0].Items[0].Header["a"] != "as it was" {
			t.Errorf("%v", got)
		}
	})
}

func TestSameIDTwiceIsTwoEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := outboxtest.NewTransport()
		b := open(t, newPath(t), d, nil)
		id := uuid.New()
		for _, p := range []string{"one", "two"} {
			if got, err := b.Put(t.Context(), outbox.Event{ID: id, Key: "a", Payload: []byte(p)}); got != id || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := delivered(d); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("%q arrived", got)
		}
	})
}

func TestPutAllOfNothingAndOfTooMuch(t *testing.T) {
	t.Parallel()
	b := open(t, newPath(t), nil, nil)
	if ids, err := b.PutAll(t.Context()); len(ids) != 0 || err != nil {
		t.Errorf("of nothing: %v, %v", ids, err)
	}
	es := make([]outbox.Event, 17)
	for i := range es {
		es[i].Payload = make([]byte, 4<<20)
	}
	_, err := b.PutAll(t.Context(), es...)
	if !errors.Is(err, sender.ErrTooLarge) || !strings.Contains(err.Error(), fmt.Sprint(17*4<<20)) || !strings.Contains(err.Error(), fmt.Sprint(64<<20)) {
		t.Errorf("of 68 MiB: %v", err)
	}
	if s := b.Stats(); s.Put != 0 {
		t.Errorf("%d stored", s.Put)
	}
}

func TestPutWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	b := open(t, newPath(t), nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Put(ctx, outbox.Event{}); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing was stored") {
		t.Errorf("%v", err)
	}
	if s := b.Stats(); s.Put != 0 {
		t.Errorf("%d stored", s.Put)
	}
}

func TestSettingsThatAreRefusedTouchNoFile(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]*outbox.Options{
		"Check":       {Limiter: (*limiter.Limiter)(nil)}, // any text will do
		"PerSecond":   {Limiter: &limiter.Limiter{PerSecond: -1}},
		"NaN":         {Limiter: &limiter.Limiter{PerSecond: math.NaN()}},
		"Burst":       {Limiter: &limiter.Limiter{PerSecond: 1, Burst: -1}},
		"limit":       {Limiter: limiter.Within(0, time.Second)},
		"Concurrency": {Sender: sender.Options{Concurrency: -1}},
		"Timeout":     {Sender: sender.Options{Timeout: -1}},
		"MaxPayload":  {Store: store.Options{MaxPayload: -1}},
		"MaxPending":  {Store: store.Options{MaxPending: -1}},
		"MaxBytes":    {Store: store.Options{MaxBytes: -1}},
		"KeepDead":    {Store: store.Options{KeepDead: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			b, err := outbox.Open(path, answer(nil), o)
			if err == nil {
				b.Close()
				t.Fatal("taken")
			}
			if name != "Check" && !strings.Contains(err.Error(), name) {
				t.Errorf("%q does not say %q", err, name)
			}
			if exists(path) {
				t.Errorf("there is a file after %v", err)
			}
		})
	}
	if _, err := outbox.New(nil, nil, nil); err == nil {
		t.Error("New took a nil store")
	}
}

func TestSettingsThatAreTaken(t *testing.T) {
	t.Parallel()
	broken := errors.New("500")
	for name, c := range map[string]struct {
		o        outbox.Options
		requests int // within an hour, for an event that always fails, while others succeed once a minute
		dead     int // of these events, in the end
	}{
		"one attempt":   {outbox.Options{Sender: sender.Options{MaxAttempts: 1}}, 1, 1},
		"no limit":      {outbox.Options{Sender: sender.Options{MaxAttempts: -1, Backoff: func(int) time.Duration { return 61 * time.Second }}}, 60, 0},
		"a huge limit":  {outbox.Options{Sender: sender.Options{MaxAttempts: math.MaxInt32, Backoff: func(int) time.Duration { return 61 * time.Second }}}, 60, 0},
		"huge delay":    {outbox.Options{Sender: sender.Options{Backoff: func(int) time.Duration { return math.MaxInt64 }}}, 1, 0},
		"Burst of zero": {outbox.Options{Sender: sender.Options{MaxAttempts: 1}, Limiter: &limiter.Limiter{PerSecond: 1}}, 1, 1},
		"negative":      {outbox.Options{Sender: sender.Options{MaxAttempts: 1, Backoff: func(int) time.Duration { return -1 }}}, 1, 1},
		"a curve that panics": {outbox.Options{Sender: sender.Options{MaxAttempts: 1, Backoff: func(int) time.Duration {
			panic("no curve")
		}}}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := forKind("bad", outboxtest.Fail(broken.Error()))
				b := open(t, newPath(t), d, &c.o)
				put(t, b, "bad", "", "bad")
				for range 60 {
					put(t, b, "track", "", "good")
					time.Sleep(time.Minute)
				}
				n := 0
				for _, r := range d.Requests() {
					if r.Errs[0] != nil {
						n++
					}
				}
				if n != c.requests {
					t.Errorf("%d requests within an hour, want %d", n, c.requests)
				}
				if s := b.Stats(); s.Delivered != 60 || s.Dead != c.dead || s.Dead+s.Pending != 1 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A curve that says nothing sensible slows nothing down for good, and does not spin.
func TestCurveThatMakesNoSense(t *testing.T) {
	t.Parallel()
	for name, curve := range map[string]func(int) time.Duration{
		"zero":     func(int) time.Duration { return 0 },
		"negative": func(int) time.Duration { return math.MinInt64 },
		"panics":   func(int) time.Duration { panic("no curve") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := forKind("bad", outboxtest.Fail("500"))
				b := open(t, newPath(t), d, &outbox.Options{Sender: sender.Options{Backoff: curve}})
				put(t, b, "bad", "", "bad")
				time.Sleep(10 * time.Second)
				if n := len(d.Requests()); n < 2 || n > 1000 {
					t.Errorf("%d requests in 10s, want at least a second one, and at most one in 10ms", n)
				}
			})
		})
	}
}

func TestExpiredIsCountedAndNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := outboxtest.NewTransport()
		d.For(outboxtest.Want{Kind: "bad"}, outboxtest.Times(120, outboxtest.Later(time.Minute)))
		b := open(t, newPath(t), d, nil)
		put(t, b, "bad", "a", "head")
		if _, err := b.Put(t.Context(), outbox.Event{Key: "a", Payload: []byte("late"), Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		if got := delivered(d); !slices.Equal(got, []string{"head"}) {
			t.Errorf("%q arrived", got)
		}
		if s := b.Stats(); s.Expired != 1 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
		ledger(t, b.Stats())
	})
}
