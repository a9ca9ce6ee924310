package customeriotest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/outboxtest"
)

// unlimited takes any number of requests.
var unlimited = map[customeriotest.API]customeriotest.Limit{
	customeriotest.Track:         {Requests: -1},
	customeriotest.Transactional: {Requests: -1},
	customeriotest.Broadcasts:    {Requests: -1},
	customeriotest.Imports:       {Requests: -1},
	customeriotest.Queries:       {Requests: -1},
}

// A client speaks raw HTTP to a server in the same bubble.
type client struct {
	*customeriotest.Server
	t  testing.TB
	tr *http.Transport
}

type reply struct {
	status int
	header http.Header
	body   string
	err    error // of the request, or of reading the answer
}

// bubble runs f with a server and a client in a bubble, where time passes only while all sleep.
func bubble(t *testing.T, o *customeriotest.Options, f func(t *testing.T, c *client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		pipe := outboxtest.NewPipe()
		s := customeriotest.NewUnstartedServer(o)
		s.Start(pipe)
		tr := &http.Transport{DialContext: pipe.DialContext}
		defer s.Close()
		defer tr.CloseIdleConnections()
		f(t, &client{s, t, tr})
	})
}

// request prepares a request with the credentials that its path needs.
func (c *client) request(method, path, body string) *http.Request {
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.URL()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if strings.HasPrefix(path, "/v1/") {
		r.Header.Set("Authorization", "Bearer app-key")
	} else {
		r.SetBasicAuth("site", "track-key")
	}
	return r
}

func (c *client) do(r *http.Request) reply {
	a, err := c.tr.RoundTrip(r) // follows no redirect
	if err != nil {
		return reply{err: err}
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	return reply{a.StatusCode, a.Header, string(body), err}
}

func (c *client) send(method, path, body string) reply {
	return c.do(c.request(method, path, body))
}

// identify sends the simplest request that the Track API accepts.
func (c *client) identify() reply { return c.send("PUT", "/api/v1/customers/1", `{}`) }

func (c *client) want(r reply, status int, body string) {
	c.t.Helper()
	if r.err != nil || r.status != status || !strings.Contains(r.body, body) {
		c.t.Errorf("answered %d %q, error %v; want %d with %q", r.status, r.body, r.err, status, body)
	}
}

// accepted checks how many operations are in the record.
func (c *client) accepted(want int) {
	c.t.Helper()
	if got := c.Verdict().Operations; got != want {
		c.t.Errorf("%d operations are in the record, want %d", got, want)
	}
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// at sleeps until d after the beginning of the bubble.
func at(begin time.Time, d time.Duration) { time.Sleep(time.Until(begin.Add(d))) }
