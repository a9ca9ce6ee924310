package outboxtest_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// What each Require accepts, and how it fails.
func TestRequire(t *testing.T) {
	type kit = *outboxtest.Outbox
	type want = outboxtest.Want
	puts := func(b kit, names ...string) {
		for _, name := range names {
			kind, key, _ := strings.Cut(name, " ")
			if _, err := b.Put(context.Background(), outbox.Event{Kind: kind, Key: key, Payload: []byte(`{"plan":"gold"}`)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		body func(b kit)
		want string // in the failure; "": it passes
	}{
		"one":             {func(b kit) { puts(b, "a ann", "b ben"); b.RequirePut(want{Kind: "a"}) }, ""},
		"none":            {func(b kit) { b.RequirePut(want{Kind: "a"}) }, `an event with kind "a" was not put`},
		"another":         {func(b kit) { puts(b, "b ben"); b.RequirePut(want{Kind: "a"}) }, `its kind is "b"`},
		"two":             {func(b kit) { puts(b, "a ann", "a ben"); b.RequirePut(want{Kind: "a"}) }, "was put 2 times, which is ambiguous"},
		"two, told apart": {func(b kit) { puts(b, "a ann", "a ben"); b.RequirePut(want{Kind: "a", Key: "ben"}) }, ""},
		"seen before":     {func(b kit) { puts(b, "a ann", "b ben"); b.RequirePut(want{Kind: "a"}); b.RequirePut(want{Kind: "b"}) }, "2 events before were seen by an earlier call or forgotten; one RequirePuts names all"},
		"forgotten":       {func(b kit) { puts(b, "a ann"); b.Forget(); b.RequirePut(want{Kind: "a"}) }, "was not put"},
		"since":           {func(b kit) { puts(b, "a ann"); b.Forget(); puts(b, "a ben"); b.RequirePut(want{Kind: "a"}) }, ""},
		"payload":         {func(b kit) { puts(b, "a ann"); b.RequirePut(want{Payload: map[string]string{"plan": "tin"}}) }, "its payload differs at .plan"},
		"all":             {func(b kit) { puts(b, "a ann", "b ben"); b.RequirePuts(want{Kind: "b"}, want{Kind: "a"}) }, ""},
		"all but one":     {func(b kit) { puts(b, "a ann"); b.RequirePuts(want{Kind: "a"}, want{Kind: "b"}) }, `with kind "b" was not put`},
		"one too many":    {func(b kit) { puts(b, "a ann", "b ben"); b.RequirePuts(want{Kind: "a"}) }, "more was put than 1 events; the others:\n\tben b"},
		"the same twice":  {func(b kit) { puts(b, "a ann", "a ann"); b.RequirePuts(want{Kind: "a"}, want{Kind: "a"}) }, ""},
		"order of a key":  {func(b kit) { puts(b, "a ann", "b ann"); b.RequirePuts(want{Kind: "b"}, want{Kind: "a"}) }, `with kind "b" was put after an event with kind "a", of the same key`},
		"no want":         {func(b kit) { b.RequirePuts() }, "RequireNothingPut says so"},
		"nothing":         {func(b kit) { b.RequireNothingPut() }, ""},
		"something":       {func(b kit) { puts(b, "a ann"); b.RequireNothingPut() }, "1 events were put:\n\tann a"},
		"not stored": {func(b kit) {
			b.Put(context.Background(), outbox.Event{Kind: strings.Repeat("k", 2000)})
			b.RequireNothingPut()
		}, ""},
		"delivered": {func(b kit) {
			puts(b, "a ann", "b ben")
			b.Drain()
			b.RequireDelivered(want{Kind: "a"})
			b.RequireDelivered(want{Kind: "b"})
		}, ""},
		"not delivered":      {func(b kit) { b.Drain(); b.RequireDelivered(want{Kind: "a"}) }, "was delivered 0 times, want once"},
		"delivered twice":    {func(b kit) { puts(b, "a ann", "a ann"); b.Drain(); b.RequireDelivered(want{Kind: "a"}) }, "was delivered 2 times"},
		"delivered long ago": {func(b kit) { puts(b, "a ann"); b.Drain(); b.Drain(); b.RequireDelivered(want{Kind: "a"}) }, "was delivered 0 times"},
		"dead": {func(b kit) {
			b.Sent.Next(outboxtest.Refuse("400: no name"))
			puts(b, "a ann")
			b.Drain()
			b.RequireDead(want{Kind: "a", Where: func(it sender.Item) bool { return it.LastErr == "400: no name" && len(it.History) == 1 }})
		}, ""},
		"not dead": {func(b kit) { puts(b, "a ann"); b.Drain(); b.RequireDead(want{Kind: "a"}) }, "is 0 times among the dead"},
		"out of patience": {func(b kit) {
			b.Sent.Next(outboxtest.Throttle(time.Hour))
			puts(b, "a ann")
			b.Drain()
		}, "Drain: 1 events are left after 1s:\n\tann a "},
		"closed": {func(b kit) { b.Sent.Next(outboxtest.Throttle(time.Hour)); puts(b, "a ann"); b.Close(); b.Drain() }, "the outbox is closed, and 1 events are left"},
		"closed, done": {func(b kit) {
			puts(b, "a ann")
			b.Shutdown(context.Background())
			b.Drain()
			b.RequireDelivered(want{Kind: "a"})
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inAndOut(t, func(t *testing.T) {
				got := judge(t, func(f *fake) { c.body(outboxtest.New(f, &outboxtest.Options{Patience: time.Second})) })
				if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
					t.Errorf("it fails with %q, want %q", got, c.want)
				}
				if strings.Contains(got, "gold") {
					t.Errorf("the failure shows a payload: %s", got)
				}
			})
		})
	}
}

func TestDrainAndSettleReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := outboxtest.New(t, nil)
		b.Sent.For(outboxtest.Want{Kind: "fails"}, outboxtest.Times(3, outboxtest.Fail("500")))
		b.Sent.For(outboxtest.Want{Kind: "odd"}, outboxtest.Refuse("400"))
		now := time.Now()
		for _, e := range []outbox.Event{
			{Kind: "good"}, {Kind: "odd"}, {Kind: "fails", Key: "ann"}, {Kind: "behind", Key: "ann"},
			{Kind: "late", NotBefore: now.Add(10 * time.Hour)}, {Kind: "gone", NotBefore: now.Add(time.Hour), Expires: now.Add(2 * time.Hour), Key: "ben"},
			{Kind: "dropped", NotBefore: now.Add(time.Hour)},
		} {
			if _, err := b.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		r := b.Settle()
		if names(r.Delivered) != "good" || names(r.Dead) != "odd" || r.Requests != 3 || r.Took >= time.Second {
			t.Errorf("settled: delivered %s, dead %s, %d requests, %v", names(r.Delivered), names(r.Dead), r.Requests, r.Took)
		}
		for it := range b.Pending() {
			if it.Kind == "dropped" {
				b.Drop(t.Context(), it)
			}
		}
		b.Sent.Outage(time.Minute, 3*time.Hour) // "gone" expires in it
		r = b.Drain()
		if names(r.Delivered) != "ann/fails ann/behind late" || names(r.Expired) != "ben/gone" || names(r.Dropped) != "dropped" || r.Dead != nil {
			t.Errorf("drained: delivered %s, expired %s, dropped %s", names(r.Delivered), names(r.Expired), names(r.Dropped))
		}
		if r.Took < 10*time.Hour-time.Second || r.Took > 10*time.Hour+time.Second {
			t.Errorf("it took %v", r.Took)
		}
		if r := b.Drain(); r.Delivered != nil || r.Requests != 0 || r.Took != 0 {
			t.Errorf("nothing has happened: %+v", r)
		}
	})
}

// Settle comes back while the lane is held, throttled, paused or closed.
func TestSettleOfASilentLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := outboxtest.New(t, nil)
		b.Sent.Outage(0, time.Hour)
		for range 30 {
			put(t, b, "k", "")
		}
		if r := b.Settle(); r.Delivered != nil || r.Took > time.Minute {
			t.Errorf("in an outage: %+v", r)
		}
		b.Drain()
		b.Sent.Next(outboxtest.Throttle(time.Hour))
		for range 30 {
			put(t, b, "k", "")
		}
		if r := b.Settle(); r.Took > time.Minute {
			t.Errorf("throttled: %+v", r)
		}
		if r := b.Drain(); r.Took < 59*time.Minute {
			t.Errorf("it went on after %v", r.Took)
		}
		if err := b.Pause(t.Context(), sender.Pause{Reason: "a deployment"}); err != nil {
			t.Fatal(err)
		}
		put(t, b, "k", "")
		if r := b.Settle(); r.Delivered != nil || r.Took > time.Minute {
			t.Errorf("paused: %+v", r)
		}
		b.Close()
		if r := b.Settle(); r.Delivered != nil || r.Took > time.Minute {
			t.Errorf("closed: %+v", r)
		}
	})
}

// The options of the outbox are the caller's, OnPut and OnOutcome too.
func TestOptionsArePassedOn(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		var put, done, ended atomic.Int32
		o := outbox.Options{OnPut: func(_ context.Context, e *outbox.Event) func(uuid.UUID, error) {
			put.Add(1)
			e.Header = map[string]string{"traceparent": "00-1"}
			return func(uuid.UUID, error) { done.Add(1) }
		}}
		o.Sender.OnOutcome = func(sender.Outcome, time.Duration) { ended.Add(1) }
		o.Store.MaxPayload = 3
		o.Sender.Logger = slog.New(slog.DiscardHandler)
		b := outboxtest.New(t, &outboxtest.Options{Outbox: o})
		if _, err := b.PutAll(t.Context(), outbox.Event{Kind: "a"}, outbox.Event{Kind: "b"}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Put(t.Context(), outbox.Event{Payload: []byte("long")}); !errors.Is(err, outbox.ErrTooLarge) {
			t.Errorf("error %v, want ErrTooLarge", err)
		}
		b.RequirePuts(outboxtest.Want{Kind: "a", Header: map[string]string{"traceparent": "00-1"}}, outboxtest.Want{Kind: "b"})
		b.Drain()
		if put.Load() != 3 || done.Load() != 3 || ended.Load() != 2 {
			t.Errorf("OnPut was called %d times, its result %d, OnOutcome %d; want 3, 3, 2", put.Load(), done.Load(), ended.Load())
		}
	})
}

// A failed test tells what became of each event.
func TestStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{TB: t}
		f.run(func() {
			tr := outboxtest.NewTransport()
			b := outboxtest.New(f, &outboxtest.Options{Transport: tr, Outbox: outbox.Options{
				Sender: sender.Options{Backoff: func(int) time.Duration { return 1200 * time.Millisecond }},
				Store:  store.Options{Gather: -1}, // when an outcome is recorded must not depend on what else is
			}})
			tr.For(outboxtest.Want{Kind: "signup"}, outboxtest.Fail("503"), outboxtest.Throttle(10*time.Hour))
			tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Refuse("400: no name"))
			tr.For(outboxtest.Want{Kind: "login"}, outboxtest.Times(20, outboxtest.Fail("500")))
			put := func(n byte, e outbox.Event) {
				e.ID = uuid.UUID{1, 0x99, 15: n}
				e.Payload = []byte("secret")
				b.Put(t.Context(), e)
			}
			put(1, outbox.Event{Kind: "signup", Key: "ann"})
			put(2, outbox.Event{Kind: "odd"})
			put(3, outbox.Event{Kind: "late", Key: "ben", NotBefore: time.Now().Add(90 * time.Hour)})
			put(4, outbox.Event{Kind: "gone", Key: "ben", Expires: time.Now().Add(time.Minute), NotBefore: time.Now().Add(59 * time.Second)})
			put(5, outbox.Event{Kind: "invalid", Expires: time.Unix(-1, 0)})
			b.FullDisk(true)
			put(6, outbox.Event{Kind: "too many"})
			b.FullDisk(false)
			time.Sleep(time.Hour)
			b.Crash()
			put(7, outbox.Event{Kind: "login", Key: "cem"})
			time.Sleep(24 * time.Hour)
			for it := range b.Dead() {
				if it.Kind == "odd" {
					b.Revive(t.Context(), it)
				}
			}
			b.Settle()
			f.Error("it fails")
		})
		f.end()
		got := strings.Join(f.logs, "\n")
		file := filepath.Join("testdata", "story.txt")
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%v; the story is\n%s", err, got)
		}
		if os.Getenv("OUTBOX_UPDATE") == "1" {
			os.WriteFile(file, []byte(got), 0o644)
		}
	})
}

// Without a failure nothing is logged, and a damaged file fails t.
func TestTheEnd(t *testing.T) {
	f := &fake{TB: t}
	f.run(func() { put(f, outboxtest.New(f, nil), "k", "") })
	f.end()
	if f.Failed() || f.logs != nil {
		t.Errorf("failures %q, logs %q", f.failures, f.logs)
	}
	if got := judge(t, func(f *fake) {
		b := outboxtest.New(f, nil)
		b.Sent.Next(outboxtest.Throttle(time.Hour))
		put(f, b, "k", "")
		b.Settle()
		path := filepath.Join(f.dir, "outbox-1.db")
		b.Close()
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, bytes.ReplaceAll(file, []byte("basic"), []byte("BASIC")), 0o600)
	}); got == "" {
		t.Error("a damaged file passes")
	}
}

// Out of patience, Drain says of each event what it waits for.
func TestDrainExplains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := judge(t, func(f *fake) {
			b := outboxtest.New(f, &outboxtest.Options{Patience: time.Hour})
			b.Sent.For(outboxtest.Want{Kind: "fails"}, outboxtest.Always(outboxtest.Later(10*time.Hour)))
			put(f, b, "fails", "ann")
			put(f, b, "behind", "ann")
			if _, err := b.Put(t.Context(), outbox.Event{Kind: "late", NotBefore: time.Now().Add(20 * time.Hour)}); err != nil {
				t.Error(err)
			}
			b.Drain()
		})
		t.Log(got)
		for _, want := range []string{"3 events are left after 1h0m0s", "until 10h", "later, in 10h0m0s", "until 20h"} {
			if !strings.Contains(got, want) {
				t.Errorf("it does not say %q: %s", want, got)
			}
		}
	})
}
