package httpsend_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// TestStatus is the table of answers: what each means without Retry-After, and with one of an hour.
func TestStatus(t *testing.T) {
	rows := []struct {
		codes         []int
		without, with string
	}{
		{[]int{200, 201, 202, 204, 207, 299}, delivered, delivered},
		{[]int{300, 301, 302, 303, 304, 307, 308}, unavailable, unavailable},
		{[]int{401, 403, 407, 421, 511}, unavailable, unavailable},
		{[]int{400, 402, 404, 405, 409, 410, 415, 417, 422, 431, 449, 451}, permanent, permanent},
		{[]int{413}, permanent, retry},
		{[]int{408, 423, 424, 425, 499}, retry, retry},
		{[]int{429, 503}, "", throttled},
		{[]int{500, 501, 502, 504, 507, 520, 522, 524, 599}, retry, retry},
		{[]int{199, 600, 999}, retry, retry},
	}
	untold := map[int]string{429: throttled, 503: retry}
	for _, row := range rows {
		for _, code := range row.codes {
			for _, after := range []string{"", "3600"} {
				want := row.without
				if want == "" {
					want = untold[code]
				}
				if after != "" {
					want = row.with
				}
				h := http.Header{"Location": {"https://elsewhere.example/"}}
				if after != "" {
					h.Set("Retry-After", after)
				}
				tr := &httpsend.Transport{Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: code, Header: h, Body: http.NoBody, Request: req}, nil
				})}}
				err := send(t, tr, "https://example.org/a")
				mark, wait := fate(t, err)
				if mark != want {
					t.Errorf("%d with Retry-After %q means %s, want %s", code, after, mark, want)
				}
				if told := wait >= time.Hour; told != (want != delivered && want != permanent && after != "") {
					t.Errorf("%d with Retry-After %q waits %v", code, after, wait)
				}
				if bare := httpsend.Verdict(&http.Response{StatusCode: code, Header: h}, time.Now()); (bare == nil) != (err == nil) {
					t.Errorf("%d: Verdict says %v, Send %v", code, bare, err)
				}
			}
		}
	}
}

// What an answer means for a request that must not be sent twice: only some answers say that nothing
// was accepted.
func TestStatusAtMostOnce(t *testing.T) {
	for code, want := range map[int]string{
		429: "delivered", 503: "delivered", 423: "delivered", 424: "delivered", 425: "delivered", 421: "delivered", 401: "delivered", 511: "delivered",
		408: "dead", 499: "dead", 500: "dead", 502: "dead", 504: "dead", 520: "dead", 527: "dead", 400: "dead", 413: "dead", 409: "dead",
	} {
		for _, after := range []string{"", "30"} {
			if after != "" && code == 413 {
				want = "delivered"
			}
			synctest.Test(t, func(t *testing.T) {
				first := true
				tr := &httpsend.Transport{IDHeader: "X-Request-Id", Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: req}
					if first {
						first = false
						resp.StatusCode, resp.Header = code, http.Header{"Retry-After": {after}}
					}
					return resp, nil
				})}}
				q := &sendertest.Memory{}
				if err := q.Append(t.Context(), store(t, httpsend.Durable{}, request(t, "POST", "https://example.org/a", "body"))); err != nil {
					t.Fatal(err)
				}
				s, err := sender.New(q, tr, nil, &sender.Options{AtMostOnce: true})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				got := "pending"
				if c := q.Counts(); c.Dead == 1 {
					got = "dead"
				} else if c.Delivered == 1 {
					got = "delivered"
				}
				if got != want {
					t.Errorf("%d with Retry-After %q: %s, want %s", code, after, got, want)
				}
			})
		}
	}
}

// A server that still works on the first try refuses the second with 409, until it is done.
func TestConflictWithIdempotencyKey(t *testing.T) {
	for _, row := range []struct {
		header, idHeader string
		want             string
	}{
		{"Idempotency-Key: k", "", retry},
		{"idempotency-key: k", "", retry},
		{"X-Idempotency-Key: k", "", retry},
		{"X-Other: k", "X-Request-Id", retry},
		{"X-Other: k", "", permanent},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409) }))
		tr := &httpsend.Transport{IDHeader: row.idHeader}
		it := store(t, httpsend.Durable{}, request(t, "POST", server.URL, "body", row.header))
		expect(t, tr.Send(t.Context(), it), row.want)
		server.Close()
	}
}

// TestNoAnswer is the table of what can go wrong before an answer has come.
func TestNoAnswer(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	bare := func() *http.Client {
		c := httpsend.NewClient()
		c.Transport.(*http.Transport).Proxy = nil
		return c
	}
	dialing := func(f func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
		c := bare()
		c.Transport.(*http.Transport).DialContext = f
		return c
	}
	noDNS := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}
	forbidden := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(407) }))
	defer forbidden.Close()
	proxied := bare()
	proxied.Transport.(*http.Transport).Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(forbidden.URL) }
	oldTLS := secure.Client()
	oldTLS.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	impatient := bare()
	impatient.Transport.(*http.Transport).ResponseHeaderTimeout = 20 * time.Millisecond
	handshake := bare()
	handshake.Transport.(*http.Transport).TLSHandshakeTimeout = 20 * time.Millisecond

	released := make(chan struct{})
	defer close(released)
	silent := raw(t, func(*net.TCPConn) { <-released })
	after := func(n int, f func(*net.TCPConn)) string { // serves f after n bytes of a request
		return raw(t, func(c *net.TCPConn) {
			if _, err := io.ReadFull(c, make([]byte, n)); err == nil {
				f(c)
			}
		})
	}
	reset := func(c *net.TCPConn) { c.SetLinger(0) }
	answer := func(text string) func(*net.TCPConn) { return func(c *net.TCPConn) { io.WriteString(c, text) } }

	rows := []struct {
		says   string
		client *http.Client
		url    string
		want   string
	}{
		{"connection refused", bare(), "http://127.0.0.1:1", unavailable}, // nobody listens there
		{"the name does not resolve", dialing(noDNS.DialContext), "http://name.example", unavailable},
		{"no route", dialing(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route to host") }), plain.URL, unavailable},
		{"no connection in time", dialing((&net.Dialer{Timeout: time.Nanosecond}).DialContext), plain.URL, unavailable},
		{"an unknown authority", bare(), secure.URL, unavailable},
		{"TLS to a server without", bare(), strings.Replace(plain.URL, "http:", "https:", 1), unavailable},
		{"no common version of TLS", oldTLS, secure.URL, unavailable},
		{"TLS is not completed", handshake, strings.Replace(silent, "http:", "https:", 1), unavailable},
		{"TLS is broken off", bare(), strings.Replace(raw(t, func(*net.TCPConn) {}), "http:", "https:", 1), unavailable},
		{"the proxy wants credentials", proxied, secure.URL, unavailable},
		{"the proxy refuses connections", nil, "https://name.example", unavailable},

		{"no header in time", impatient, silent, retry},
		{"reset at the first byte", bare(), after(1, reset), retry},
		{"reset within the request", bare(), after(50, reset), retry},
		{"closed before an answer", bare(), after(20, func(*net.TCPConn) {}), retry},
		{"cut in the status line", bare(), after(20, answer("HTTP/1.1 2")), retry},
		{"cut in the header", bare(), after(20, answer("HTTP/1.1 200 OK\r\nContent-Le")), retry},
		{"another protocol", bare(), after(20, answer("SSH-2.0-OpenSSH_9.6\r\n")), retry},
		{"a RoundTripper of which nothing is known", &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost") })}, plain.URL, retry},

		{"reset in the body of a 200", bare(), after(20, func(c *net.TCPConn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
			c.CloseWrite()
		}), delivered},
		{"cut in the body of a 400", bare(), after(20, answer("HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{")), permanent},
	}
	for _, row := range rows {
		t.Run(row.says, func(t *testing.T) {
			err := send(t, &httpsend.Transport{Client: row.client}, row.url+"/path?query=1")
			expect(t, err, row.want)
			if err == nil {
				return
			}
			host := strings.TrimPrefix(strings.TrimPrefix(row.url, "https://"), "http://")
			if text := err.Error(); !strings.HasPrefix(text, "httpsend: POST "+host+"/path: ") || strings.Contains(text, "query") {
				t.Errorf("the error is %s", text)
			}
		})
	}
}

// A client that has no more time for the answer does not know whether the request was accepted.
func TestNoAnswerInTime(t *testing.T) {
	var err error
	inBubble(t, func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
	}, func(t *testing.T, c *http.Client) {
		c.Timeout = 20 * time.Millisecond
		err = send(t, &httpsend.Transport{Client: c}, "http://example.org/")
	})
	expect(t, err, retry)
}

// Whose context has ended learns nothing of the destination, whatever stage the call was in.
func TestContextEnds(t *testing.T) {
	inBubble(t, func(_ http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
	}, func(t *testing.T, c *http.Client) {
		it := store(t, httpsend.Durable{}, request(t, "POST", "http://example.org/", "body"))
		tr := &httpsend.Transport{Client: c}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := tr.Send(ctx, it); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the deadline: %v", err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %v", took)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := tr.Send(ctx, it); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		began = time.Now()
		if err := tr.Send(t.Context(), it); err == nil {
			t.Error("no error without an answer")
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("without a deadline it took %v", took)
		}
	})

	ctx, cancel := context.WithCancel(t.Context())
	stuck := httpsend.NewClient()
	stuck.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	it := store(t, httpsend.Durable{}, request(t, "POST", "http://127.0.0.1/", "body"))
	err := (&httpsend.Transport{Client: stuck}).Send(ctx, it)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while connecting: %v", err)
	}
	expect(t, err, retry)
}

func TestErrorText(t *testing.T) {
	answer := func(code int, after string) *http.Response {
		return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {after}},
			Request: request(t, "PUT", "https://user:secret@example.org/v1/a%2Fb?token=secret", "secret", "Authorization: secret")}
	}
	for _, row := range []struct {
		resp *http.Response
		want string
	}{
		{answer(400, ""), "httpsend: PUT example.org/v1/a%2Fb: 400 Bad Request"},
		{answer(429, "90"), "httpsend: PUT example.org/v1/a%2Fb: 429 Too Many Requests, retry after 1m30s"},
		{answer(400, "90"), "httpsend: PUT example.org/v1/a%2Fb: 400 Bad Request"},
		{answer(599, ""), "httpsend: PUT example.org/v1/a%2Fb: 599"},
		{&http.Response{StatusCode: 500}, "httpsend: unknown request: 500 Internal Server Error"},
	} {
		err := httpsend.Verdict(row.resp, time.Now())
		if got := err.Error(); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
		var e *httpsend.StatusError
		if !errors.As(err, &e) || e.Code != row.resp.StatusCode {
			t.Errorf("%v holds no status", err)
		}
	}
	long := answer(500, "")
	long.Request.URL.Path = "/" + strings.Repeat("long/", 10000)
	long.Request.URL.RawPath = ""
	if text := httpsend.Verdict(long, time.Now()).Error(); len(text) > 300 || !strings.Contains(text, "500") {
		t.Errorf("%d bytes: %.400s", len(text), text)
	}
}

// The URL, whose query may be secret, is taken out of an error; the cause stays.
func TestCauseStays(t *testing.T) {
	c := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("proxy: %w", &url.Error{Op: "Get", URL: "http://proxy.example/?token=hush", Err: errors.New("no route to host")})
	})}
	err := send(t, &httpsend.Transport{Client: c}, "http://example.org/a?token=hush")
	if got, want := err.Error(), "httpsend: POST example.org/a: no route to host"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What the destination says when asked for nothing stays out of the error: a destination that
// echoes would have us note our own credentials.
func TestEchoIsNotNoted(t *testing.T) {
	echo := raw(t, func(c *net.TCPConn) { io.Copy(c, io.LimitReader(c, 30)) })
	tr := &httpsend.Transport{Client: httpsend.NewClient()}
	err := send(t, tr, echo+"/p?token=hush")
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("the error is %v", err)
	}
}
