package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// id returns the ID of the n-th event of a fixture. Its first eight characters are n.
func id(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("%08d-0000-7000-8000-000000000000", n)) }

// evil is what a hostile producer would write on a terminal.
const evil = "cust\x1b[2Jomer\u202e4"

// fixture makes a file with one lane: 1 and 2 are dead, 3 retries, 4 waits behind it, 5 is ready, 6 is
// scheduled.
func fixture(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	send := sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		if it.Kind == "bad" {
			return sender.Permanent(errors.New("400 no such customer"))
		}
		return errors.New("500 internal error")
	})
	outcomes := make(chan sender.Verdict, 10)
	b, err := outbox.Open(path, send, &outbox.Options{Sender: sender.Options{
		Backoff:   func(int) time.Duration { return time.Hour },
		OnOutcome: func(o sender.Outcome, _ time.Duration) { outcomes <- o.Verdict },
	}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(1), Kind: "bad", Key: "customer-1", Payload: []byte(`{"n":1}`), Header: map[string]string{"trace": "t1"}},
		outbox.Event{ID: id(2), Kind: "bad", Key: evil, Payload: []byte("\x1b]0;owned\x07 two")},
		outbox.Event{ID: id(3), Kind: "event", Key: "customer-3", Payload: []byte("three")})
	for range 3 {
		<-outcomes
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = outbox.Open(path, nil, nil); err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(4), Kind: "event", Key: "customer-3", Payload: []byte("four")},
		outbox.Event{ID: id(5), Kind: "event", Payload: []byte("five")},
		outbox.Event{ID: id(6), Kind: "event", Key: "customer-6", Payload: []byte("six"), NotBefore: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func put(t *testing.T, b *outbox.Outbox, es ...outbox.Event) {
	t.Helper()
	if _, err := b.PutAll(t.Context(), es...); err != nil {
		t.Fatal(err)
	}
}

// everything allows everything.
func everything(*http.Request, string) monitor.Access {
	return monitor.Access{Name: me(), Read: true, Payload: true, Act: true}
}

// serve has a program open the file, and returns its monitor.
func serve(t *testing.T, path string, allow func(*http.Request, string) monitor.Access) *monitor.Monitor {
	t.Helper()
	st, err := store.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := outbox.New(st, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := monitor.New(map[string]*outbox.Outbox{"outbox": b}, &monitor.Options{Allow: allow})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), b.Close(), st.Close()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// serveSocket makes the socket beside the file.
func serveSocket(t *testing.T, path string, m *monitor.Monitor) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- monitor.Serve(ctx, path+".sock", m) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	for !answers(path + ".sock") {
		if t.Context().Err() != nil {
			t.Fatal("nobody serves the socket")
		}
		time.Sleep(time.Millisecond)
	}
}

// reached are the ways to reach a file.
var reached = []string{"file", "http", "socket"}

// reach makes a fixture that is reached in one way, and returns the target.
func reach(t *testing.T, how string) string {
	t.Helper()
	path := fixture(t)
	switch how {
	case "http":
		server := httptest.NewServer(serve(t, path, everything))
		t.Cleanup(server.Close)
		return server.URL + "/outbox/"
	case "socket":
		serveSocket(t, path, serve(t, path, everything))
	}
	return path
}

// call runs the program and returns its output and its exit code.
func call(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	return callWith(t, "", args...)
}

func callWith(t *testing.T, in string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(in), &o, &e)
	return o.String(), e.String(), code
}

// want fails unless the program prints that and exits so.
func want(t *testing.T, code int, out string, args ...string) {
	t.Helper()
	got, errs, c := call(t, args...)
	if c != code {
		t.Errorf("outbox %s: exit %d, %d expected: %s", strings.Join(args, " "), c, code, errs)
	}
	if got != out {
		t.Errorf("outbox %s printed\n%s\nand not\n%s", strings.Join(args, " "), got, out)
	}
}

var (
	stamp   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	ofDay   = regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`)
	second  = regexp.MustCompile(` *\b(\d+\.\d|0)s\b`)
	bytesOf = regexp.MustCompile(`\d+ KB`)
	left    = regexp.MustCompile(`(59m|1h)(\d+s)?`)
)

// still replaces what differs from run to run.
func still(s string) string {
	for _, year := range []string{"2100-01-01T00:00:00Z"} {
		s = strings.ReplaceAll(s, year, "2100")
	}
	s = stamp.ReplaceAllString(s, "TIME")
	s = ofDay.ReplaceAllString(s, "CLOCK")
	s = left.ReplaceAllString(s, "HOUR")
	s = bytesOf.ReplaceAllString(s, "SIZE")
	return second.ReplaceAllString(s, "  SOON")
}

var update = os.Getenv("UPDATE_GOLDEN") != ""

// golden compares with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(is) != got {
		t.Errorf("%s: got\n%s\nand not\n%s", name, got, is)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
