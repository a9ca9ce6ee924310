package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// A service whose destination breaks: the command says why events wait, and repairs what died, while the
// service runs. At the end check agrees.
func TestWalk(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusUnauthorized)
	d := newDestination(t, func(body string) int {
		if s := status.Load(); s != http.StatusOK {
			return int(s)
		}
		if strings.Contains(body, "mistake") {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	path := filepath.Join(t.TempDir(), "events.db")
	send := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, strings.NewReader(string(it.Payload)))
		if err != nil {
			return err
		}
		_, err = httpsend.Do(nil, req)
		return err
	})
	outcomes := make(chan sender.Outcome, 100)
	b, err := outbox.Open(path, send, &outbox.Options{Sender: sender.Options{
		Backoff:   func(int) time.Duration { return 20 * time.Millisecond },
		OnOutcome: func(o sender.Outcome, _ time.Duration) { outcomes <- o },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, err := monitor.New(map[string]*outbox.Outbox{"events": b}, &monitor.Options{Allow: everything})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	serveSocket(t, path, m)
	until := func(v sender.Verdict) {
		t.Helper()
		for o := range outcomes {
			if o.Verdict == v {
				return
			}
		}
	}

	put(t, b, outbox.Event{ID: id(1), Kind: "signup", Key: "ann", Payload: []byte(`{"n":1}`)}, outbox.Event{ID: id(2), Kind: "signup", Key: "ann", Payload: []byte(`{"n":"mistake"}`)})
	for b.Stats().State != sender.LaneHeld {
		<-outcomes
	}
	out, errs, code := call(t, "stats", path, "--max-held", "0s")
	if code != exitUnhealthy || !strings.Contains(out, "  held  ") || !strings.Contains(out, "401 Unauthorized, since ") || !strings.Contains(errs, "lane events: held for") {
		t.Errorf("stats: exit %d: %s%s", code, out, errs)
	}
	if out, _, code = call(t, "explain", path, "00000001"); code != 0 || !strings.Contains(out, "401 Unauthorized") {
		t.Errorf("explain: exit %d: %s", code, out)
	}

	status.Store(http.StatusOK)
	until(sender.Dead)
	if out, _, code = call(t, "dead", path); code != 0 || !strings.Contains(out, "400 Bad Request") {
		t.Errorf("dead: exit %d: %s", code, out)
	}
	setEditor(t, `sed 's/"mistake"/2/' "$1" >"$1.new" && mv "$1.new" "$1"`)
	want(t, 0, "1 event was edited and revived.\n", "edit", path, "00000002")
	until(sender.Delivered)
	want(t, exitNotFound, "", "dead", path)
	want(t, 0, "Lane events: every event is accounted for.\n", "check", path)
	if got := strings.Join(d.got(), ""); !strings.HasSuffix(got, `{"n":2}`) {
		t.Errorf("arrived: %s", got)
	}
}

// What may have arrived is not revived without a question.
func TestAnswerUnknown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	died := make(chan bool, 1)
	b, err := outbox.Open(path, sender.TransportFunc(func(context.Context, sender.Item) error { return errors.New("cut off") }), &outbox.Options{Sender: sender.Options{
		AtMostOnce: true,
		OnOutcome: func(o sender.Outcome, _ time.Duration) {
			if o.Verdict == sender.Dead {
				died <- true
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(1)})
	<-died
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"revive", path, "00000001"}, {"revive", path, "--all"}} {
		if _, errs, code := call(t, args...); code != exitUsage || !strings.Contains(errs, "answer is unknown") {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	want(t, 0, "1 event was revived.\n", "revive", path, "00000001", "--yes")
}

// A pause that the destination asked for is shown, kept, and cleared.
func TestThrottle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.db")
	told := make(chan bool, 1)
	b, err := outbox.Open(path, sender.TransportFunc(func(context.Context, sender.Item) error {
		return sender.Throttled(errors.New("429 Too Many Requests"), 10*time.Hour)
	}), &outbox.Options{Sender: sender.Options{OnOutcome: func(sender.Outcome, time.Duration) { told <- true }}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(1)})
	<-told
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if out, _, code := call(t, "stats", path); code != 0 || !strings.Contains(out, "  throttled  ") || !strings.Contains(out, "the destination asked for a pause until ") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if out, _, code := call(t, "explain", path, "00000001"); code != 0 || !strings.Contains(out, "  1. ") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	want(t, 0, "Lane outbox has no throttle any more.\n", "clear-throttle", path)
	if out, _, code := call(t, "stats", path); code != 0 || !strings.Contains(out, "  stopped  ") || strings.Contains(out, "pause") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}
