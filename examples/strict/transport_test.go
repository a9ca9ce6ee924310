package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// meaning names what the sender will take an error for. Marks are only seen from inside the sender,
// but two errors with the same mark and cause are equal.
func meaning(err error, wait time.Duration) string {
	if err == nil {
		return "delivered"
	}
	cause := errors.Unwrap(err)
	for name, marked := range map[string]error{
		"permanent":   sender.Permanent(cause),
		"throttled":   sender.Throttled(cause, wait),
		"unavailable": sender.Unavailable(cause),
	} {
		if cause != nil && reflect.DeepEqual(err, marked) {
			return name
		}
	}
	if reflect.TypeOf(err) == reflect.TypeOf(sender.Unavailable(nil)) {
		return "another mark, or another wait"
	}
	return "failed"
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	var redirected atomic.Bool
	for _, c := range []struct {
		code       int
		retryAfter string
		date       string
		want       string
		wait       time.Duration
	}{
		{code: 200, want: "delivered"},
		{code: 204, want: "delivered"},
		{code: 302, want: "unavailable"},
		{code: 307, want: "unavailable"},
		{code: 400, want: "permanent"},
		{code: 401, want: "unavailable"},
		{code: 403, want: "unavailable"},
		{code: 404, want: "permanent"},
		{code: 408, want: "failed"},
		{code: 413, want: "permanent"},
		{code: 425, want: "failed"},
		{code: 429, want: "throttled"},
		{code: 429, retryAfter: "7", want: "throttled", wait: 7 * time.Second},
		{code: 429, retryAfter: "0", want: "throttled"},
		{code: 429, retryAfter: "-7", want: "throttled"},
		{code: 429, retryAfter: "soon", want: "throttled"},
		{code: 429, retryAfter: "99999999999999999999", want: "throttled"},
		{code: 429, retryAfter: "Mon, 02 Mar 2026 06:00:30 GMT", date: "Mon, 02 Mar 2026 06:00:00 GMT", want: "throttled", wait: 30 * time.Second},
		{code: 429, retryAfter: "Mon, 02 Mar 2026 05:59:30 GMT", date: "Mon, 02 Mar 2026 06:00:00 GMT", want: "throttled"},
		{code: 500, want: "failed"},
		{code: 500, retryAfter: "7", want: "failed"},
		{code: 502, want: "failed"},
		{code: 503, want: "failed"},
		{code: 503, retryAfter: "7", want: "throttled", wait: 7 * time.Second},
		{code: 503, retryAfter: "0", want: "failed"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				redirected.Store(true)
				return
			}
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			if c.date != "" {
				w.Header().Set("Date", c.date)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.code)
		}))
		err := newTransport(srv.URL, 1).Send(t.Context(), sender.Item{})
		srv.Close()
		if got := meaning(err, c.wait); got != c.want {
			t.Errorf("%d, Retry-After %q: %s (%v), want %s", c.code, c.retryAfter, got, err, c.want)
		}
	}
	if redirected.Load() {
		t.Error("a redirect was followed")
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	t.Run("connection refused", func(t *testing.T) {
		srv := httptest.NewServer(nil)
		srv.Close()
		err := newTransport(srv.URL+"/?token=secret", 1).Send(t.Context(), sender.Item{})
		if got := meaning(err, 0); got != "unavailable" {
			t.Errorf("%s (%v), want unavailable", got, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the token in the URL: %v", err)
		}
	})
	t.Run("a name that does not resolve", func(t *testing.T) {
		tr := newTransport("http://receiver.test", 1)
		tr.client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "receiver.test", IsNotFound: true}}
		}
		if err := tr.Send(t.Context(), sender.Item{}); meaning(err, 0) != "unavailable" {
			t.Errorf("%s (%v), want unavailable", meaning(err, 0), err)
		}
	})
	t.Run("a certificate that is not trusted", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(nil)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports the handshake
		srv.StartTLS()
		defer srv.Close()
		if err := newTransport(srv.URL, 1).Send(t.Context(), sender.Item{}); meaning(err, 0) != "unavailable" {
			t.Errorf("%s (%v), want unavailable", meaning(err, 0), err)
		}
	})
	t.Run("told to stop", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			stop()
			<-r.Context().Done()
		}))
		defer srv.Close()
		err := newTransport(srv.URL, 1).Send(ctx, sender.Item{})
		if meaning(err, 0) != "failed" || !errors.Is(err, context.Canceled) {
			t.Errorf("%s (%v), want failed, by the context", meaning(err, 0), err)
		}
	})
}

func TestRequestCarriesTheEvent(t *testing.T) {
	t.Parallel()
	it := sender.Item{Seq: 42, ID: uuid.New(), Kind: "order placed\n", Key: "müller/\x00\xff %", Payload: []byte(`{"a": 1 }`)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, key, seq, err := identify(r.Header)
		if id != it.ID || key != it.Key || seq != it.Seq || err != nil {
			t.Errorf("the receiver reads %s, %q, %d, %v, want %s, %q, %d", id, key, seq, err, it.ID, it.Key, it.Seq)
		}
		if got := r.Header.Get("Outbox-Kind"); got != "order+placed%0A" {
			t.Errorf("the kind is %q", got)
		}
		if body, _ := io.ReadAll(r.Body); string(body) != string(it.Payload) {
			t.Errorf("the body is %q, want %q", body, it.Payload)
		}
	}))
	defer srv.Close()
	if err := newTransport(srv.URL, 1).Send(t.Context(), it); err != nil {
		t.Error(err)
	}
}

// A connection for each request would cost more than the request.
func TestConnectionIsUsedAgain(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, strings.Repeat("x", 10_000))
	}))
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	tr := newTransport(srv.URL, 1)
	for range 5 {
		tr.Send(t.Context(), sender.Item{})
	}
	if n := opened.Load(); n != 1 {
		t.Errorf("5 requests in a row opened %d connections, want 1", n)
	}
}

func TestVerdictOfAStranger(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"not found":   http.NotFound,
		"other JSON":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"unique":5}`) },
		"a redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"nothing yet": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	} {
		srv := httptest.NewServer(handler)
		if v, ok, err := newTransport(srv.URL, 1).verdict(); ok || err != nil {
			t.Errorf("%s: %v, %v, %v, want none", name, v, ok, err)
		}
		srv.Close()
	}
}
