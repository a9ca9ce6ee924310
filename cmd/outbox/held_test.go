package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// sending makes a service whose transport answers so, and returns the address of its monitor.
func sending(t *testing.T, answer error, until sender.LaneState) (*outbox.Outbox, string) {
	t.Helper()
	outcomes := make(chan sender.Outcome, 100)
	b, err := outbox.Open(filepath.Join(t.TempDir(), "events.db"), sender.TransportFunc(func(context.Context, sender.Item) error { return answer }),
		&outbox.Options{Sender: sender.Options{
			Backoff:   func(int) time.Duration { return time.Hour },
			OnOutcome: func(o sender.Outcome, _ time.Duration) { outcomes <- o },
		}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := monitor.New(map[string]*outbox.Outbox{"events": b}, &monitor.Options{Allow: everything})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(m)
	t.Cleanup(func() {
		server.Close()
		if err := errors.Join(m.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	put(t, b, outbox.Event{ID: id(1), Kind: "event", Key: "ann"}, outbox.Event{ID: id(2), Kind: "event", Key: "ann"})
	for b.Stats().State != until {
		<-outcomes
	}
	return b, server.URL
}

// What ends a hold says what holds the lane instead, and which command ends that.
func TestWhatHolds(t *testing.T) {
	both := func(t *testing.T, args []string, code int, out string, says ...string) {
		t.Helper()
		is, errs, c := call(t, args...)
		if c != code || is != out {
			t.Errorf("%v: exit %d: %s", args, c, is)
		}
		for _, text := range says {
			if !strings.Contains(errs, text) {
				t.Errorf("%v: %q is not in %q", args, text, errs)
			}
		}
		if len(says) == 0 && errs != "" {
			t.Errorf("%v: it says %q", args, errs)
		}
	}
	t.Run("held", func(t *testing.T) {
		_, at := sending(t, sender.Unavailable(errors.New("401 Unauthorized")), sender.LaneHeld)
		says := []string{"It is held: destination: 401 Unauthorized", "No command ends that: "}
		both(t, []string{"clear-throttle", at}, 0, "Lane events has no throttle: nothing was changed.\n", says...)
		both(t, []string{"resume", at}, 0, "Lane events is not paused: nothing was changed.\n", says...)
		both(t, []string{"resume", at, "--json"}, 0, "{\"done\":0,\"lane\":\"events\",\"state\":\"held\",\"v\":1}\n")
	})
	t.Run("paused", func(t *testing.T) {
		b, at := sending(t, nil, sender.LaneIdle)
		if err := b.Pause(t.Context(), sender.Pause{By: "ann", Reason: "night load"}); err != nil {
			t.Fatal(err)
		}
		both(t, []string{"clear-throttle", at}, 0, "Lane events has no throttle: nothing was changed.\n",
			"It is paused by ann until it is resumed: night load. What ends that: outbox resume "+at+"\n")
		both(t, []string{"pause", at, "--until", "2h"}, 0, "Lane events is paused.\n", "It was paused by ann until it is resumed: night load. That is replaced.", "It is paused by "+me()+" until ")
		both(t, []string{"resume", at, "--json"}, 0, "{\"done\":1,\"lane\":\"events\",\"state\":\"idle\",\"v\":1}\n")
		both(t, []string{"resume", at}, 0, "Lane events is not paused: nothing was changed.\n")
		both(t, []string{"pause", at, "--json"}, 0, "{\"done\":1,\"lane\":\"events\",\"state\":\"paused\",\"v\":1}\n")
		both(t, []string{"resume", at, "--lane", "events"}, 0, "Lane events is resumed.\n")
	})
	t.Run("throttled", func(t *testing.T) {
		_, at := sending(t, sender.Throttled(errors.New("429 Too Many Requests"), 2*time.Hour), sender.LaneThrottled)
		both(t, []string{"resume", at, "--lane", "events"}, 0, "Lane events is not paused: nothing was changed.\n",
			"The destination asked for a pause until ", "What ends that: outbox clear-throttle "+at+" --lane events\n")
		both(t, []string{"pause", at}, 0, "Lane events is paused.\n", "It is paused by ")
		both(t, []string{"clear-throttle", at}, 0, "Lane events has no throttle any more.\n", "What ends that: outbox resume "+at+"\n")
	})
	t.Run("waiting", func(t *testing.T) {
		_, at := sending(t, errors.New("500 Internal Server Error"), sender.LaneWaiting)
		both(t, []string{"clear-throttle", at}, 0, "Lane events has no throttle: nothing was changed.\n",
			"1 event waits for its next try. What makes it due: outbox run-now "+at+" --all\n")
	})
	t.Run("stopped", func(t *testing.T) {
		both(t, []string{"clear-throttle", fixture(t)}, 0, "Lane outbox has no throttle: nothing was changed.\n",
			"No program has the file open: nothing is sent until one does.\n")
	})
}

// The numbers of a lane add up, and what an event waits behind has its ID.
func TestBehind(t *testing.T) {
	_, at := sending(t, errors.New("500 Internal Server Error"), sender.LaneWaiting)
	out, errs, code := call(t, "explain", at, "00000002")
	if code != 0 || !strings.Contains(out, "the first is "+id(1).String()+": 500 Internal Server Error") {
		t.Errorf("explain: exit %d: %s%s", code, out, errs)
	}
	out, errs, code = call(t, "stats", at)
	if code != 0 || !strings.Contains(out, "2      0      1     0") || !strings.Contains(out, "\n            1 in-line event\n") {
		t.Errorf("stats: exit %d: %s%s", code, out, errs)
	}
}
