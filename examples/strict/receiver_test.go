package main

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
)

// post sends a receiver one event and returns the answer.
func post(t *testing.T, r *outboxtest.Receiver, id uuid.UUID, key string, seq uint64) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Outbox-Id", id.String())
	req.Header.Set("Outbox-Key", key)
	req.Header.Set("Outbox-Seq", strconv.FormatUint(seq, 10))
	resp, err := r.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

func started(t *testing.T) *outboxtest.Receiver {
	t.Helper()
	r, err := startReceiver("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// The limit is kept and judged, over any second.
func TestOverfullWindowIsRefusedAndCaught(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := started(t)
		began := time.Now()
		for r.Verdict().Requests < 100 {
			post(t, r, uuid.New(), "", 1)
		}
		if took := time.Since(began); took >= time.Second {
			t.Fatalf("100 requests took %v", took)
		}
		if err := r.Manners(); err != nil || r.Verdict().Throttled != 0 {
			t.Fatalf("100 in the window: %v, %+v", err, r.Verdict())
		}
		if resp := post(t, r, uuid.New(), "", 1); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" {
			t.Errorf("a request beyond 100 is answered %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
		if err := r.Manners(); err == nil || !strings.Contains(err.Error(), "101 requests in a window of 1s, 100 are allowed") {
			t.Errorf("the verdict on 101 requests in a second is %v", err)
		}
		time.Sleep(time.Second)
		if resp := post(t, r, uuid.New(), "", 1); resp.StatusCode == http.StatusTooManyRequests {
			t.Error("a request is refused a second after the others")
		}
	})
}

// What the last line and the exit status say of what the receiver saw.
func TestConclude(t *testing.T) {
	t.Parallel()
	type arrival struct {
		id  byte
		key string
		seq uint64
	}
	for name, c := range map[string]struct {
		arrivals []arrival
		put      uint64
		line     string
		why      string // part of the error; "": the verdict is good
	}{
		"nothing": {nil, 0, "put=0 received=0 unique=0 duplicates=0 order_violations=0 fullest_second=0 answered_429=0 answered_503=0 rate=0.0", ""},
		"all well": {[]arrival{{1, "a", 1}, {2, "b", 2}, {3, "a", 3}, {4, "", 4}}, 4,
			"put=4 received=4 unique=4 duplicates=0 order_violations=0", ""},
		"keys are in no order with each other": {[]arrival{{2, "b", 2}, {1, "a", 1}}, 2, "put=2 received=2", ""},
		"events without a key have no order":   {[]arrival{{2, "", 2}, {1, "", 1}}, 2, "put=2 received=2", ""},
		"a swap": {[]arrival{{1, "a", 1}, {3, "a", 3}, {2, "a", 2}}, 3,
			"put=3 received=3 unique=3 duplicates=0 order_violations=1", `a request of key "a" was accepted after a later one`},
		"a loss": {[]arrival{{1, "a", 1}, {3, "a", 3}}, 3, "put=3 received=2", "2 distinct events were received, 3 expected"},
		"a repetition is no loss and no swap": {[]arrival{{1, "a", 1}, {2, "a", 2}, {1, "a", 1}, {2, "a", 2}, {3, "a", 3}}, 3,
			"put=3 received=5 unique=3 duplicates=2 order_violations=0", ""},
		"a repetition does not stand for another": {[]arrival{{1, "a", 1}, {2, "a", 2}, {2, "a", 2}}, 3, "put=3 received=3 unique=2", "2 distinct"},
		"a stranger": {[]arrival{{1, "a", 1}, {2, "a", 2}}, 1, "put=1 received=2 unique=2", "2 distinct"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := started(t)
				for _, a := range c.arrivals {
					if resp := post(t, r, uuid.UUID{a.id}, a.key, a.seq); resp.StatusCode != http.StatusOK {
						t.Fatalf("answer %s", resp.Status)
					}
				}
				var out, errs bytes.Buffer
				s := newScreen(&out, &errs)
				conclude(s, r, outbox.Stats{Put: c.put}, c.put)
				if !strings.HasPrefix(out.String(), c.line) || (s.status() == success) != (c.why == "") || !strings.Contains(errs.String(), c.why) {
					t.Errorf("status %d\n%s%swant\n%s\n%s", s.status(), out.String(), errs.String(), c.line, c.why)
				}
			})
		})
	}
}

// A run should meet what production meets, and no more of it than is said.
func TestReceiverFailsAndDawdlesNowAndThen(t *testing.T) {
	t.Parallel()
	const requests = 10_000
	failed, slow := 0, 0
	for n := range requests {
		switch fate(n + 1) {
		case outboxtest.Fault{Status: http.StatusServiceUnavailable}:
			failed++
		case outboxtest.Fault{Delay: 300 * time.Millisecond}:
			slow++
		case outboxtest.Fault{}:
		default:
			t.Fatalf("%d: %+v", n, fate(n))
		}
	}
	if failed < requests/100 || failed > requests*3/100 {
		t.Errorf("%d of %d requests fail, want about 2 percent", failed, requests)
	}
	if slow < requests/400 || slow > requests/100 {
		t.Errorf("%d of %d answers are slow, want about one in 200", slow, requests)
	}
}

func TestMeasuredRate(t *testing.T) {
	t.Parallel()
	got := summary(outboxtest.Verdict{Requests: 11, Accepted: 10, Repeated: 1, Failed: 1, Took: 4 * time.Second})
	if want := "received=10 unique=9 duplicates=1 order_violations=0 fullest_second=0 answered_429=0 answered_503=1 rate=2.5"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
