package customerio_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
)

// between puts something between the client and the server: it answers the requests for which f
// returns an answer.
func (w *world) between(f func(*http.Request) *http.Response) {
	next := w.http.Transport
	w.http.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		if resp := f(req); resp != nil {
			if req.Body != nil {
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
			}
			resp.Request = req
			return resp, nil
		}
		return next.RoundTrip(req)
	})
}

// says makes an answer; header fields are given as "Name: value".
func says(status int, body string, fields ...string) *http.Response {
	h := http.Header{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Add(name, value)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

const page = "<!DOCTYPE html><title>Welcome</title>"

// onAll puts one thing on each lane, the track lane as a batch.
func onAll(t *testing.T, c *customerio.Client) {
	t.Helper()
	put(t, c, identifies(0, 3)...)
	if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TriggerBroadcast(t.Context(), 12, customerio.Broadcast{}); err != nil {
		t.Fatal(err)
	}
}

// A success of something between us and the service is none: nothing is lost, on no lane, and every
// call of an API says so.
func TestForeignSuccess(t *testing.T) {
	t.Parallel()
	for _, body := range []string{page, "OK", `"ok"`, `["a"]`, "null"} {
		for _, status := range []int{200, 202, 207} {
			bubble(t, nil, func(t *testing.T, w *world) {
				var foreign atomic.Bool
				foreign.Store(true)
				w.between(func(*http.Request) *http.Response {
					if foreign.Load() {
						return says(status, body)
					}
					return nil
				})
				c := w.open(nil)
				onAll(t, c)
				time.Sleep(time.Minute)
				if v := w.Verdict(); v.Operations != 0 {
					t.Fatalf("%v", v)
				}
				for _, name := range []customerio.Lane{customerio.LaneTrack, customerio.LaneTransactional, customerio.LaneBroadcast} {
					s := c.Stats()[name]
					if s.Pending == 0 || s.Dead != 0 || s.Delivered != 0 || !strings.Contains(s.Held, "something between us and the service") {
						t.Errorf("%d %q, %s: %+v", status, body, name, s)
					}
				}
				if err := c.CheckCredentials(t.Context()); err == nil || !strings.Contains(err.Error(), "something between us") {
					t.Errorf("%d %q: check: %v", status, body, err)
				}
				_, err := c.ImportJob(deadline(t, time.Minute), customerio.Job{Name: "n", URL: "https://example.org/x"})
				if err == nil || !strings.Contains(err.Error(), "something between us") {
					t.Errorf("%d %q: import job: %v", status, body, err)
				}
				foreign.Store(false)
				time.Sleep(3 * time.Minute)
				w.flush(c)
				if v := w.Verdict(); v.Operations != 5 {
					t.Errorf("%d %q: %v", status, body, v)
				}
			})
		}
	}
}

// A server that does not know the path is a wrong address, whichever lane asked: everything
// waits, and the setting is named. What the service itself does not find is about the item.
func TestWrongAddress(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		body   string
		app    bool // the App API has said so of the item
	}{
		{404, page, false},
		{404, "", false},
		{404, `{"message":"no Route matched with those values"}`, false},
		{405, page, false},
		{405, `{"meta":{"error":"method not allowed"}}`, false},
		{410, page, false},
		{404, `{"meta":{"error":"no such message"}}`, true},
		{404, `{"errors":[{"detail":"no such campaign","status":"404"}]}`, true},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.between(func(req *http.Request) *http.Response { return says(row.status, row.body) })
			c := w.open(nil)
			onAll(t, c)
			time.Sleep(time.Minute)
			for name, setting := range map[customerio.Lane]string{customerio.LaneTrack: "TrackURL", customerio.LaneTransactional: "AppURL", customerio.LaneBroadcast: "AppURL"} {
				s := c.Stats()[name]
				if row.app && name != customerio.LaneTrack {
					if s.Dead != 1 || s.Pending != 0 {
						t.Errorf("%d %q, %s: %+v", row.status, row.body, name, s)
					}
				} else if s.Pending == 0 || s.Dead != 0 || !strings.Contains(s.Held, "check "+setting) {
					t.Errorf("%d %q, %s: %+v", row.status, row.body, name, s)
				}
			}
			if err := c.CheckCredentials(t.Context()); err == nil || !strings.Contains(err.Error(), "check TrackURL") {
				t.Errorf("%d %q: check: %v", row.status, row.body, err)
			}
			_, err := c.ImportJob(deadline(t, time.Minute), customerio.Job{Name: "n", URL: "https://example.org/x"})
			if err == nil || strings.Contains(err.Error(), "check AppURL") == row.app {
				t.Errorf("%d %q: import job: %v", row.status, row.body, err)
			}
		})
	}
}

// The state of an import that a wrong address does not know stays known here.
func TestImportJobAtWrongAddress(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		var lost atomic.Bool
		w.between(func(req *http.Request) *http.Response {
			if lost.Load() && req.Method == "GET" {
				return says(404, page)
			}
			if req.Method == "POST" {
				defer lost.Store(true)
			}
			return nil
		})
		c := w.open(nil)
		job := customerio.Job{Name: "n", URL: "https://example.org/x"}
		if _, err := c.ImportJob(deadline(t, time.Hour), job); err == nil || !strings.Contains(err.Error(), "check AppURL") {
			t.Fatalf("%v", err)
		}
		lost.Store(false)
		if r, err := c.ImportJob(deadline(t, time.Hour), job); err != nil || r.State != "imported" {
			t.Errorf("%+v, %v", r, err)
		}
		if v := w.Verdict(); v.Operations != 1 {
			t.Errorf("started again: %v", v)
		}
	})
}

// The errors of a batch count under any success, packed or not.
func TestErrorsOfSuccess(t *testing.T) {
	t.Parallel()
	pack := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, body)
		w.Close()
		return b.String()
	}
	const errs = `{"errors":[{"batch_index":1,"reason":"invalid","field":"name","message":"is wrong"}]}`
	for _, status := range []int{200, 202, 207} {
		for _, row := range []struct {
			says, body string
			header     []string
			dead       int
		}{
			{"plain", errs, nil, 1},
			{"packed", pack(errs), []string{"Content-Encoding: gzip"}, 1},
			{"packed success", pack("{}"), []string{"Content-Encoding: gzip"}, 0},
			{"cut", errs[:len(errs)-2] + strings.Repeat(" ", 64<<10) + "]}", nil, 3},
			{"no index", `{"errors":[{"reason":"invalid","message":"is wrong"}]}`, nil, 3},
			{"a strange field", `{"errors":[{"batch_index":1,"reason":7,"message":"is wrong"}]}`, nil, 1},
		} {
			bubble(t, nil, func(t *testing.T, w *world) {
				w.between(func(req *http.Request) *http.Response {
					if strings.HasSuffix(req.URL.Path, "/batch") {
						return says(status, row.body, row.header...)
					}
					if row.dead == 3 {
						return says(status, `{"errors":[{"reason":"invalid","message":"is wrong"}]}`) // each alone
					}
					return nil
				})
				c := w.open(nil)
				put(t, c, identifies(0, 3)...)
				time.Sleep(time.Minute)
				s := c.Stats()[customerio.LaneTrack]
				if status == 207 && row.says == "packed success" { // it does not say whom it refuses: each goes alone
					if s.Delivered != 3 {
						t.Errorf("%d, %s: %+v", status, row.says, s)
					}
					return
				}
				if s.Dead != row.dead || int(s.Delivered) != 3-row.dead || s.Pending != 0 {
					t.Errorf("%d, %s: %+v", status, row.says, s)
				}
				for _, why := range dead(t, c, customerio.LaneTrack) {
					if !strings.Contains(why, "is wrong") {
						t.Errorf("%d, %s: %s", status, row.says, why)
					}
				}
			})
		}
	}
}

// An outage of an hour costs the messages that were in flight when it began, and no more: what tests
// the lane is a question that sends nothing.
func TestOutageCostsNoMessages(t *testing.T) {
	t.Parallel()
	for lane, send := range map[customerio.Lane]func(context.Context, *customerio.Client) error{
		customerio.LaneTransactional: func(ctx context.Context, c *customerio.Client) error {
			_, err := c.SendEmail(ctx, email("a@example.org"))
			return err
		},
		customerio.LaneBroadcast: func(ctx context.Context, c *customerio.Client) error {
			_, err := c.TriggerBroadcast(ctx, 12, customerio.Broadcast{})
			return err
		},
	} {
		for _, status := range []int{500, 502, 504} {
			bubble(t, nil, func(t *testing.T, w *world) {
				var out atomic.Bool
				var messages, questions atomic.Int64
				w.between(func(req *http.Request) *http.Response {
					if !out.Load() {
						return nil
					}
					if req.Method == "GET" && req.URL.Path == "/v1/info/ip_addresses" && req.Header.Get("Authorization") == "Bearer app-key" {
						questions.Add(1)
					} else {
						messages.Add(1)
					}
					return says(status, page)
				})
				c := w.open(nil)
				out.Store(true)
				for range 20 {
					if err := send(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Hour)
				s := c.Stats()[lane]
				if int64(s.Dead) != messages.Load() || s.Dead == 0 || s.Dead > 5 || questions.Load() < 30 {
					t.Errorf("%s, %d: %d messages and %d questions went out: %+v", lane, status, messages.Load(), questions.Load(), s)
				}
				in := s.Dead
				out.Store(false)
				time.Sleep(5 * time.Minute) // broadcasts go every 10 s
				if s := c.Stats()[lane]; s.Dead != in || s.Pending != 0 || int(s.Delivered) != 20-in {
					t.Errorf("%s, %d: %+v, %d were in flight", lane, status, s, in)
				}
			})
		}
	}
}

// A probe says whether the service itself answers.
func TestProbes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		says   string
		status int
		body   string
		opens  bool
	}{
		{"an answer", 200, `{"ip_addresses":["192.0.2.1"]}`, true},
		{"this key may send and not ask", 403, `{"errors":[{"detail":"forbidden","status":"403"}]}`, true},
		{"a service without this question", 404, `{"errors":[{"detail":"not found","status":"404"}]}`, true},
		{"a page", 200, page, false},
		{"nothing", 200, "", false},
		{"a gateway without routes", 404, page, false},
		{"a gateway that forbids", 403, page, false},
		{"wrong credentials", 401, `{"meta":{"error":"unauthorized"}}`, false},
		{"an outage", 503, "", false},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			first := true
			w.between(func(req *http.Request) *http.Response {
				if req.Method == "GET" {
					return says(row.status, row.body)
				}
				if first {
					first = false
					return says(401, "{}")
				}
				return nil
			})
			c := w.open(nil)
			if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
			if s := c.Stats()[customerio.LaneTransactional]; (s.Delivered == 1) != row.opens || s.Dead != 0 {
				t.Errorf("%s: %+v", row.says, s)
			}
		})
	}
}

// A pause that a query was told is on disk, like the pause of a lane.
func TestPauseOfQueriesIsKept(t *testing.T) {
	t.Parallel()
	ask := func(ctx context.Context, c *customerio.Client) error {
		req, err := http.NewRequestWithContext(ctx, "GET", "/v1/segments", nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	check := func(ctx context.Context, c *customerio.Client) error { return c.CheckCredentials(ctx) }
	job := func(ctx context.Context, c *customerio.Client) error {
		_, err := c.ImportJob(ctx, customerio.Job{Name: "n", URL: "https://example.org/x"})
		return err
	}
	for _, row := range []struct {
		says   string
		told   func(context.Context, *customerio.Client) error
		waits  func(context.Context, *customerio.Client) error
		status int
		header string
		wait   time.Duration
	}{
		{"Do", ask, ask, 429, "20", 20 * time.Second},
		{"Do, for ImportJob", ask, job, 503, "20", 20 * time.Second},
		{"ImportJob, for Do", job, ask, 429, "20", 20 * time.Second},
		{"CheckCredentials", check, check, 429, "20", 20 * time.Second},
		{"without a word", ask, ask, 429, "", 0},
		{"a mistake", ask, ask, 429, "90000", 0},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			var told time.Time
			var again time.Time
			w.between(func(req *http.Request) *http.Response {
				if told.IsZero() {
					told = time.Now()
					return says(row.status, `{}`, "Retry-After: "+row.header)
				}
				if again.IsZero() {
					again = time.Now()
				}
				return nil
			})
			c := w.open(nil)
			row.told(deadline(t, time.Second), c)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			c = w.open(nil)
			if err := row.waits(deadline(t, time.Hour), c); err != nil {
				t.Errorf("%s: %v", row.says, err)
			}
			if waited := again.Sub(told); waited < row.wait || waited > row.wait+3*time.Second {
				t.Errorf("%s: asked again after %v, want %v", row.says, waited, row.wait)
			}
		})
	}
}

// An impatient connection is one that the other end gives up after a second without a request: the
// next one goes out, and no answer comes.
type impatient struct {
	net.Conn
	used atomic.Int64 // when it was last written to
}

func (c *impatient) Write(b []byte) (int, error) {
	now := time.Now().UnixNano()
	if used := c.used.Swap(now); used != 0 && time.Duration(now-used) > time.Second {
		c.Close()
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// A message goes out on a young connection: on one that is just being closed it would be lost.
func TestMessagesTakeYoungConnections(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		tr := w.http.Transport.(*http.Transport)
		dial := tr.DialContext
		var conns atomic.Int64
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			conns.Add(1)
			return &impatient{Conn: conn}, err
		}
		c := w.open(nil)
		for range 6 {
			if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		if s := c.Stats()[customerio.LaneTransactional]; s.Delivered != 6 || s.Dead != 0 {
			t.Errorf("%+v: %q", s, dead(t, c, customerio.LaneTransactional))
		}
		// At a hundred a second they share connections.
		before := conns.Load()
		for i := range 500 {
			m := email("a@example.org")
			m.Identifiers = customerio.ID(fmt.Sprint(i))
			if _, err := c.SendEmail(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		w.flush(c)
		if n := conns.Load() - before; n > 20 {
			t.Errorf("%d connections for 500 messages", n)
		}
	})
}

// What must not be sent twice goes out on a young connection on the track lane too.
func TestOperationsAtMostOnceTakeYoungConnections(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		tr := w.http.Transport.(*http.Transport)
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &impatient{Conn: conn}, err
		}
		c := w.open(func(o *customerio.Options) { o.Sender.AtMostOnce = true })
		for i := range 6 {
			put(t, c, identifies(i, 1)...)
			time.Sleep(2 * time.Second)
		}
		if s := c.Stats()[customerio.LaneTrack]; s.Delivered != 6 || s.Dead != 0 {
			t.Errorf("%+v: %q", s, dead(t, c, customerio.LaneTrack))
		}
	})
}
