package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// post hands the receiver one event, without a network.
func post(r *receiver, id uuid.UUID, key string, seq uint64, body io.Reader) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/", body)
	req.Header.Set("Outbox-Id", id.String())
	req.Header.Set("Outbox-Key", key)
	req.Header.Set("Outbox-Seq", strconv.FormatUint(seq, 10))
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func TestOverfullWindowIsRefusedAndCaught(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver()
		send := func() int {
			w := post(r, uuid.New(), "", 1, strings.NewReader("{}"))
			if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "1" {
				t.Errorf("429 with Retry-After %q, want 1", w.Header().Get("Retry-After"))
			}
			return w.Code
		}
		for i := range 100 {
			if code := send(); code == http.StatusTooManyRequests {
				t.Fatalf("request %d is refused, 100 a second are allowed", i+1)
			}
		}
		if err := r.verdict().manners(); err != nil {
			t.Fatalf("100 in the window: %v", err)
		}
		// However slow some answers were, the last request started less than a second ago.
		for range 3 {
			if code := send(); code != http.StatusTooManyRequests {
				t.Fatalf("a request beyond 100 is answered %d, want 429", code)
			}
		}
		if v := r.verdict(); v.FullestSecond != 103 || v.Refused != 3 {
			t.Errorf("%v, want 103 in the fullest second, 3 of them refused: refused requests count", v)
		}
		if err := r.verdict().manners(); err == nil || !strings.Contains(err.Error(), "103") {
			t.Errorf("the verdict on 103 requests in a second is %v", err)
		}
		time.Sleep(time.Second)
		if code := send(); code == http.StatusTooManyRequests {
			t.Error("a request is refused a second after the others")
		}
	})
}

// The window rolls: what counts is any second, not only the seconds that a clock shows.
func TestWindowRolls(t *testing.T) {
	t.Parallel()
	r := newRecord()
	start := time.Unix(1000, 0)
	at := func(d time.Duration, n int) (refused int) {
		for range n {
			if !r.arrive(start.Add(d)) {
				refused++
			}
		}
		return refused
	}
	for _, step := range []struct {
		at          time.Duration
		n           int
		wantRefused int
	}{
		{0, 10, 0},
		{900 * time.Millisecond, 90, 0},
		{999 * time.Millisecond, 1, 1},   // 100 and one within this second
		{1000 * time.Millisecond, 9, 0},  // the ten of the start are gone
		{1899 * time.Millisecond, 1, 1},  // the ninety are not
		{1900 * time.Millisecond, 89, 0}, // now they are; 11 came since
		{1998 * time.Millisecond, 1, 1},
	} {
		if got := at(step.at, step.n); got != step.wantRefused {
			t.Errorf("at %v: %d of %d are refused, want %d", step.at, got, step.n, step.wantRefused)
		}
	}
	if got := r.verdict().FullestSecond; got != 101 {
		t.Errorf("fullest second is %d, want 101", got)
	}
}

func TestVerdictCatches(t *testing.T) {
	t.Parallel()
	type arrival struct {
		id  byte
		key string
		seq uint64
	}
	for _, c := range []struct {
		name              string
		arrivals          []arrival
		put               uint64
		manners, complete string // part of the error; "": none
		duplicates        int
	}{
		{name: "all well", put: 4,
			arrivals: []arrival{{1, "a", 1}, {2, "b", 2}, {3, "a", 3}, {4, "", 4}}},
		{name: "keys are in no order with each other", put: 2,
			arrivals: []arrival{{2, "b", 2}, {1, "a", 1}}},
		{name: "events without a key have no order", put: 2,
			arrivals: []arrival{{2, "", 2}, {1, "", 1}}},
		{name: "a swap", put: 3, manners: "1 events came after a later one",
			arrivals: []arrival{{1, "a", 1}, {3, "a", 3}, {2, "a", 2}}},
		{name: "a loss", put: 3, complete: "2 distinct events were received, 3 expected",
			arrivals: []arrival{{1, "a", 1}, {3, "a", 3}}},
		{name: "a repetition is no loss and no swap", put: 3, duplicates: 2,
			arrivals: []arrival{{1, "a", 1}, {2, "a", 2}, {1, "a", 1}, {2, "a", 2}, {3, "a", 3}}},
		{name: "a repetition does not stand for another", put: 3, duplicates: 1, complete: "2 distinct",
			arrivals: []arrival{{1, "a", 1}, {2, "a", 2}, {2, "a", 2}}},
		{name: "a stranger", put: 1, complete: "2 distinct",
			arrivals: []arrival{{1, "a", 1}, {2, "a", 2}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRecord()
			for _, a := range c.arrivals {
				r.accept(uuid.UUID{a.id}, a.key, a.seq)
			}
			v := r.verdict()
			for _, got := range []struct {
				err  error
				want string
			}{{v.manners(), c.manners}, {v.complete(c.put), c.complete}} {
				if (got.err == nil) != (got.want == "") || got.err != nil && !strings.Contains(got.err.Error(), got.want) {
					t.Errorf("the error is %v, want %q", got.err, got.want)
				}
			}
			if v.Duplicates != c.duplicates || v.Received != len(c.arrivals) {
				t.Errorf("%v, want received=%d duplicates=%d", v, len(c.arrivals), c.duplicates)
			}
		})
	}
}

// A run should meet what production meets, and no more of it than is said.
func TestReceiverFailsAndDawdlesNowAndThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const requests = 10_000
		r := newReceiver()
		failed, slow := 0, 0
		var first, last time.Time
		for i := range requests {
			time.Sleep(20 * time.Millisecond)
			start := time.Now()
			if last = start; i == 0 {
				first = start
			}
			w := post(r, uuid.New(), "", uint64(i), strings.NewReader("{}"))
			switch {
			case w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "":
				failed++
			case w.Code != http.StatusNoContent:
				t.Fatalf("answer %d: %v", w.Code, w.Body)
			}
			if took := time.Since(start); took > 0 {
				slow++
				if took != 300*time.Millisecond {
					t.Fatalf("an answer takes %v, want 300ms", took)
				}
			}
		}
		if failed < requests/100 || failed > requests*3/100 {
			t.Errorf("%d of %d requests fail, want about 2 percent", failed, requests)
		}
		if slow < requests/400 || slow > requests/100 {
			t.Errorf("%d of %d answers are slow, want about one in 200", slow, requests)
		}
		if v := r.verdict(); v.Received != requests-failed || v.Unique != v.Received || v.Failed != failed {
			t.Errorf("%v after %d requests of which %d failed", v, requests, failed)
		}
		if got, want := r.verdict().Rate, (requests-1)/last.Sub(first).Seconds(); got != want {
			t.Errorf("the measured rate is %v, want %v", got, want)
		}
	})
}

func TestReceiverAcceptsOnlyWholeRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		edit func(*http.Request)
	}{
		{"cut off", func(r *http.Request) { r.Body = io.NopCloser(iotest.ErrReader(errors.New("cut"))) }},
		{"without an id", func(r *http.Request) { r.Header.Del("Outbox-Id") }},
		{"without a place", func(r *http.Request) { r.Header.Del("Outbox-Seq") }},
		{"with a broken key", func(r *http.Request) { r.Header.Set("Outbox-Key", "%zz") }},
		{"not a POST", func(r *http.Request) { r.Method = http.MethodPut }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver()
			req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
			req.Header.Set("Outbox-Id", uuid.NewString())
			req.Header.Set("Outbox-Seq", "1")
			c.edit(req)
			w := httptest.NewRecorder()
			r.ServeHTTP(w, req)
			if w.Code < 400 || w.Code > 499 {
				t.Errorf("answer %d, want a 4xx", w.Code)
			}
			if v := r.verdict(); v.Received != 0 {
				t.Errorf("%v, want received=0", v)
			}
		})
	}
}

func TestVerdictOverHTTPIsNoRequestOfTheSender(t *testing.T) {
	t.Parallel()
	r := newReceiver()
	post(r, uuid.New(), "a", 1, strings.NewReader("{}"))
	var got verdict
	for range 2 {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/verdict", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
	}
	if want := (verdict{Received: 1, Unique: 1, FullestSecond: 1}); got != want {
		t.Errorf("the verdict is %v, want %v", got, want)
	}
}
