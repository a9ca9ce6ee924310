package httpsend_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// A middlebox carries connections. forget makes it swallow what comes over those that there are; it
// carries new ones.
type middlebox struct {
	dial   func(context.Context, string, string) (net.Conn, error)
	mu     sync.Mutex
	olds   []*atomic.Bool // of each connection: it is forgotten
	carry  sync.WaitGroup
	dialed atomic.Int64
}

func (m *middlebox) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	far, err := m.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	m.dialed.Add(1)
	ours, near := net.Pipe()
	forgotten := &atomic.Bool{}
	m.mu.Lock()
	m.olds = append(m.olds, forgotten)
	m.mu.Unlock()
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		m.carry.Go(func() {
			defer near.Close()
			defer far.Close()
			b := make([]byte, 32<<10)
			for {
				n, err := way[1].Read(b)
				if err != nil {
					return
				}
				if !forgotten.Load() {
					if _, err := way[0].Write(b[:n]); err != nil {
						return
					}
				}
			}
		})
	}
	return ours, nil
}

func (m *middlebox) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, old := range m.olds {
		old.Store(true)
	}
}

// overHTTP2 runs f in a bubble with a client that reaches a server by HTTP/2, TLS and a middlebox.
func overHTTP2(t *testing.T, f func(t *testing.T, c *http.Client, m *middlebox)) {
	t.Helper()
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS() // for its certificate, and a client that trusts it
	config, trusting := certified.TLS.Clone(), certified.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	certified.Close()
	config.NextProtos = []string{"h2"}
	synctest.Test(t, func(t *testing.T) {
		p := outboxtest.NewPipe()
		srv := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.ProtoMajor != 2 {
				t.Errorf("%s, HTTP/2 expected", req.Proto)
			}
		})}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := srv.ServeTLS(p, "", ""); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		m := &middlebox{dial: p.DialContext}
		c := httpsend.NewClient()
		tr := c.Transport.(*http.Transport)
		tr.DialContext, tr.Proxy, tr.TLSClientConfig = m.Dial, nil, trusting
		f(t, c, m)
		c.CloseIdleConnections()
		srv.Close()
		m.carry.Wait()
		wg.Wait()
	})
}

// A connection that a middlebox has forgotten is given up within seconds, busy or idle, and a new
// one is made. A request each second, with a timeout of one, never reaches the server otherwise.
func TestForgottenConnection(t *testing.T) {
	for name, idle := range map[string]time.Duration{"busy": 0, "idle": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			overHTTP2(t, func(t *testing.T, c *http.Client, m *middlebox) {
				sends, it := confidential(t, c, "https://example.com")
				if err := sends.Send(t.Context(), it); err != nil {
					t.Fatal(err)
				}
				m.forget()
				time.Sleep(idle)
				began, failed := time.Now(), 0
				for ; failed < 60; failed++ {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					err := sends.Send(ctx, it)
					cancel()
					if err == nil {
						break
					}
				}
				if after := time.Since(began); after > 9*time.Second || idle > 0 && failed > 0 {
					t.Errorf("%d requests failed, for %v; the connection is given up after 8 s", failed, after)
				}
				if n := m.dialed.Load(); n != 2 {
					t.Errorf("%d connections, 2 expected", n)
				}
			})
		})
	}
}

// A held lane is probed on a new connection, long before a ping tells that the old one is dead.
func TestProbeTakesNewConnection(t *testing.T) {
	overHTTP2(t, func(t *testing.T, c *http.Client, m *middlebox) {
		sends, it := confidential(t, c, "https://example.com")
		if err := sends.Send(t.Context(), it); err != nil {
			t.Fatal(err)
		}
		m.forget()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sends.Send(ctx, it); err == nil {
			t.Fatal("the forgotten connection answered")
		}
		synctest.Wait() // until the request is forgotten
		var closer sender.IdleCloser = sends
		closer.CloseIdleConnections()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sends.Send(ctx, it); err != nil {
			t.Error(err)
		}
	})
}

// A connection that idles is closed by the other end just when it is needed again. What must not be
// sent twice is then lost, unless it goes out on a young connection.
func TestYoung(t *testing.T) {
	for _, row := range []struct {
		says  string
		every time.Duration
		conns int64
	}{
		{"few requests, each on its own connection", 2 * time.Second, 6},
		{"many requests, all on one", 10 * time.Millisecond, 1},
	} {
		t.Run(row.says, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := outboxtest.NewPipe()
				var conns atomic.Int64
				var wg sync.WaitGroup
				wg.Go(func() {
					for {
						conn, err := p.Accept()
						if err != nil {
							return
						}
						conns.Add(1)
						wg.Go(func() { impatient(conn) })
					}
				})
				c := httpsend.NewClient()
				c.Transport.(*http.Transport).DialContext, c.Transport.(*http.Transport).Proxy = p.DialContext, nil
				y := httpsend.Young(c)
				sends, it := confidential(t, y, "http://example.com")
				for i := range 6 {
					if err := sends.Send(t.Context(), it); err != nil {
						t.Errorf("request %d: %v", i, err)
					}
					time.Sleep(row.every)
				}
				if n := conns.Load(); n != row.conns {
					t.Errorf("%d connections, want %d", n, row.conns)
				}
				y.CloseIdleConnections()
				p.Close()
				wg.Wait()
			})
		})
	}
}

// impatient answers requests. After a second without one it gives the connection up, and the next
// request breaks it.
func impatient(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		waited := time.Now()
		req, err := http.ReadRequest(r)
		if err != nil || time.Since(waited) > time.Second {
			return
		}
		io.Copy(io.Discard, req.Body)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
	}
}

// A client that cannot be made young is used as it is, and none means one of NewClient.
func TestYoungOfOthers(t *testing.T) {
	asked := false
	c := &http.Client{Timeout: time.Minute, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		asked = true
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
	})}
	y := httpsend.Young(c)
	if err := send(t, &httpsend.Transport{Client: y}, "http://example.com"); err != nil || !asked || y.Timeout != time.Minute {
		t.Errorf("%v, asked %v, timeout %v", err, asked, y.Timeout)
	}
	if tr, ok := httpsend.Young(nil).Transport.(*http.Transport); !ok || tr.IdleConnTimeout > time.Second || !tr.DisableCompression {
		t.Errorf("not young, or not of NewClient: %+v", tr)
	}
	if tr := c.Transport; tr == nil {
		t.Error("the client has changed")
	}
}

// Whatever stands in Location, a redirect is an answer, and its header arrives whole.
func TestRedirectThatDoesNotParse(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{"http://[::1", "%zz", "://", "https://other.example.org/x", ""} {
			c := &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{"Location": {location}}, Body: io.NopCloser(strings.NewReader("moved")), Request: req}, nil
			})}
			answer, err := httpsend.Do(c, request(t, "POST", "http://example.com/p", "body"))
			var e *httpsend.StatusError
			if answer == nil || !errors.As(err, &e) || e.Code != status {
				t.Fatalf("%d to %q: %v, %v", status, location, answer, err)
			}
			if got := answer.Header.Get("Location"); got != location || string(answer.Body) != "moved" {
				t.Errorf("%d to %q: Location %q, body %q", status, location, got, answer.Body)
			}
			expect(t, err, unavailable)
		}
	}
}

// A body that a proxy has packed unasked arrives unpacked, within the bound.
func TestUnaskedGzip(t *testing.T) {
	pack := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		return b.String()
	}
	whole := pack(`{"ok":true}`)
	for _, row := range []struct {
		says, encoding, body, want string
		cut                        bool
	}{
		{"gzip", "gzip", whole, `{"ok":true}`, false},
		{"by its old name", "X-Gzip", whole, `{"ok":true}`, false},
		{"a bomb", "gzip", pack(strings.Repeat("0", 1<<20)), strings.Repeat("0", 64<<10), true},
		{"broken off", "gzip", whole[:len(whole)-9], `{"ok":true}`, true},
		{"a lie", "gzip", "plain", "plain", false},
		{"unknown", "br", "\x01\x02", "\x01\x02", false},
		{"nothing", "gzip", "", "", false},
	} {
		c := &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Encoding": {row.encoding}}, Body: io.NopCloser(strings.NewReader(row.body)), Request: req}, nil
		})}
		answer, err := httpsend.Do(c, request(t, "POST", "http://example.com/p", "body"))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(answer.Body); got != row.want || answer.Cut != row.cut {
			t.Errorf("%s: %d bytes %.40q, cut %v; want %d bytes %.40q, cut %v", row.says, len(got), got, answer.Cut, len(row.want), row.want, row.cut)
		}
	}
}

// A probe goes out with the credentials and without an item, and says what the destination says.
func TestProbing(t *testing.T) {
	for _, row := range []struct {
		status int
		want   string
	}{{204, delivered}, {401, unavailable}, {404, permanent}, {500, retry}, {429, throttled}} {
		var got []string
		p := &httpsend.Probing{
			Transport: httpsend.Transport{
				IDHeader:  "Idempotency-Key",
				Authorize: func(req *http.Request) error { req.Header.Set("Authorization", "Bearer today"); return nil },
				Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					got = append(got, req.Method+" "+req.URL.Path+" "+req.Header.Get("Authorization")+req.Header.Get("Idempotency-Key"))
					return &http.Response{StatusCode: row.status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
				})},
			},
			Request: func(ctx context.Context) (*http.Request, error) {
				return http.NewRequestWithContext(ctx, "GET", "http://example.com/health?token=hush-query", nil)
			},
		}
		var prober sender.Prober = p
		err := prober.Probe(t.Context())
		expect(t, err, row.want)
		discreet(t, "a probe", err)
		if len(got) != 1 || got[0] != "GET /health Bearer today" {
			t.Errorf("%d: sent %q", row.status, got)
		}
	}
	expect(t, (&httpsend.Probing{}).Probe(t.Context()), unavailable)
	failing := &httpsend.Probing{Request: func(context.Context) (*http.Request, error) { return http.NewRequest("GET", "http://[hush-query", nil) }}
	err := failing.Probe(t.Context())
	expect(t, err, unavailable)
	discreet(t, "no request", err)
	if _, ok := any(&httpsend.Transport{}).(sender.Prober); ok {
		t.Error("a Transport without a harmless request says that it has one")
	}
}

// What a query hides is hidden also from servers that split it at the semicolon.
func TestSecretOfQuery(t *testing.T) {
	for query, want := range map[string]string{
		"q=1;token=S":         "q=1",
		"token=S;q=1":         "", // to a server that splits at & alone all of it is the token
		"q=1;token=S;r=2":     "q=1;r=2",
		"q=1;TOKEN=S;S":       "q=1",
		"a=1&q=1;%74oken=S&b": "a=1&q=1&b",
		"token=S&q=1":         "q=1",
		"q=1;r=2&s=3;;t":      "q=1;r=2&s=3;;t",
		"a=token;b":           "a=token;b",
		"":                    "",
	} {
		it := store(t, httpsend.Durable{Secret: []string{"token"}}, request(t, "POST", "http://example.com/p?"+query, "body"))
		want = strings.TrimSuffix("http://example.com/p?"+want, "?")
		found := false
		for _, v := range it.Header {
			found = found || strings.TrimSuffix(v, "?") == want
			if strings.Contains(v, "S") && v != "POST" {
				t.Errorf("%s: %q is stored", query, v)
			}
		}
		if !found {
			t.Errorf("%s: %q, want %s", query, it.Header, want)
		}
	}
}
