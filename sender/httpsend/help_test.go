package httpsend_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// TestMain sends whatever would leave the machine to a port where nobody listens. Loopback addresses
// need no proxy.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	os.Exit(m.Run())
}

const (
	delivered   = "delivered"
	permanent   = "permanent"
	later       = "later"
	throttled   = "throttled"
	unavailable = "unavailable"
	retry       = "retry"
)

// fate asks a real sender what an error means: its mark, and how long it makes the lane or the item
// wait.
func fate(t *testing.T, err error) (mark string, wait time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q := &sendertest.Memory{}
		if err := q.Append(t.Context(), sender.Item{ID: uuid.New()}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var first *sender.Outcome
		s, e := sender.New(q, sender.TransportFunc(func(context.Context, sender.Item) error { return err }), nil,
			&sender.Options{OnOutcome: func(o sender.Outcome, _ time.Duration) {
				if first == nil {
					first = &o
				}
				cancel()
			}})
		if e != nil {
			t.Fatal(e)
		}
		if e := s.Run(ctx); e != nil {
			t.Fatal(e)
		}
		switch o := first; {
		case o.Verdict == sender.Delivered:
			mark = delivered
		case o.Verdict == sender.Dead:
			mark = permanent
		case o.Verdict == sender.Retry && o.Item.Failures == 0:
			mark, wait = later, time.Until(o.Due)
		case o.Verdict == sender.Retry && o.Item.Attempts == 0:
			mark, wait = unavailable, time.Until(o.Due)
		case o.Verdict == sender.Retry:
			mark, wait = retry, time.Until(o.Due)
		case !o.PauseUntil.IsZero():
			mark, wait = throttled, time.Until(o.PauseUntil)
		case o.Verdict == sender.Released:
			mark = unavailable
		}
	})
	return mark, wait
}

// expect fails unless err means this.
func expect(t *testing.T, err error, mark string) {
	t.Helper()
	if got, _ := fate(t, err); got != mark {
		t.Errorf("%v means %s, want %s", err, got, mark)
	}
}

// roundTrip makes a function a destination.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// store has a Durable store a request and returns the item.
func store(t *testing.T, d httpsend.Durable, req *http.Request) sender.Item {
	t.Helper()
	it := sender.Item{ID: uuid.New()}
	d.Match = func(*http.Request) bool { return true }
	d.Put = func(_ *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
		it.Header, it.Payload = header, body
		return it.ID, nil
	}
	resp, err := (&http.Client{Transport: &d}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return it
}

// request makes a request; header fields are given as "Name: value".
func request(t *testing.T, method, url, body string, fields ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	return req
}

// send stores a POST to url and sends it.
func send(t *testing.T, tr *httpsend.Transport, url string) error {
	t.Helper()
	return tr.Send(t.Context(), store(t, httpsend.Durable{}, request(t, "POST", url, "body")))
}

// inBubble runs f in a bubble with a server in memory and a client of NewClient that reaches it.
func inBubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, c *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := outboxtest.NewPipe()
		srv := &http.Server{Handler: h}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := srv.Serve(p); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		c := httpsend.NewClient()
		c.Transport.(*http.Transport).DialContext = p.DialContext
		c.Transport.(*http.Transport).Proxy = nil
		f(t, c)
		c.CloseIdleConnections()
		srv.Close()
		wg.Wait()
	})
}

// raw serves each connection by f, and closes it then.
func raw(t *testing.T, f func(*net.TCPConn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); f(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}
