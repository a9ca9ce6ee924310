package httpsend_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// Connections are used again, whatever the answers are like: as many as were in flight at once, and
// no more.
func TestConnectionsAreReused(t *testing.T) {
	const atOnce, rounds = 40, 5
	var opened atomic.Int64
	var together sync.WaitGroup // so that all of a round are in flight at once
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		together.Done()
		together.Wait()
		status, _ := strconv.Atoi(req.URL.Query().Get("status"))
		w.WriteHeader(status)
		if status != 204 {
			io.WriteString(w, strings.Repeat("x", 60<<10))
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := httpsend.NewClient()
	defer c.CloseIdleConnections()

	for round := range rounds {
		status := []int{200, 204, 400, 429, 503}[round]
		together.Add(atOnce)
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				req := request(t, "POST", srv.URL+"/?status="+strconv.Itoa(status), "body")
				if a, _ := httpsend.Do(c, req); a == nil || a.Status != status {
					t.Errorf("the answer is %+v, want %d", a, status)
				}
			})
		}
		wg.Wait()
	}
	if n := opened.Load(); n != atOnce {
		t.Errorf("%d connections for %d requests, %d at once", n, rounds*atOnce, atOnce)
	}
}

// A redirect is not followed, also by a client that would: neither credentials nor body arrive
// elsewhere.
func TestRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.RedirectHandler(other.URL, code))
		for _, c := range []*http.Client{httpsend.NewClient(), {Transport: &http.Transport{}}, nil} {
			err := send(t, &httpsend.Transport{Client: c, Authorize: func(req *http.Request) error {
				req.Header.Set("X-Api-Key", "hush")
				return nil
			}}, srv.URL)
			expect(t, err, unavailable)
			if c != nil {
				c.CloseIdleConnections()
			}
		}
		srv.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests arrived elsewhere", n)
	}
}

// One Send is one request, also when an idle connection breaks: net/http would repeat a request with
// an idempotency key by itself, and the limiter would not know.
func TestOneSendIsOneRequest(t *testing.T) {
	for _, header := range []string{"", "Idempotency-Key", "x-idempotency-key", "X-Other"} {
		var requests atomic.Int64
		url := raw(t, func(c *net.TCPConn) {
			r := bufio.NewReader(c)
			for n := 0; ; n++ {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				requests.Add(1)
				if n > 0 {
					c.SetLinger(0) // the second on a connection is read, and answered with a reset
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		c := httpsend.NewClient()
		for _, method := range []string{"POST", "DELETE"} {
			tr := &httpsend.Transport{Client: c, IDHeader: header}
			it := store(t, httpsend.Durable{}, request(t, method, url, ""))
			if err := tr.Send(t.Context(), it); err != nil {
				t.Errorf("%s %q: the first: %v", method, header, err)
			}
			expect(t, tr.Send(t.Context(), it), retry)
			if n := requests.Swap(0); n != 2 {
				t.Errorf("%s %q: %d requests arrived, 2 were sent", method, header, n)
			}
		}
		c.CloseIdleConnections()
	}
}

// Do leaves the caller's request as it was.
func TestDoChangesNothing(t *testing.T) {
	inBubble(t, func(http.ResponseWriter, *http.Request) {}, func(t *testing.T, c *http.Client) {
		req := request(t, "POST", "http://example.org/", "", "Idempotency-Key: 7", "X-A: a")
		before := req.Header.Clone()
		if _, err := httpsend.Do(c, req); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(req.Header, before) {
			t.Errorf("the header is %q, was %q", req.Header, before)
		}
	})
}
