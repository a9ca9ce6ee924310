package customeriotest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// What each fault does to the answer, and whether the request leaves a trace in the record.
func TestFaults(t *testing.T) {
	type fault = customeriotest.Fault
	for _, row := range []struct {
		name     string
		fault    fault
		status   int // 0: no answer
		kind     string
		body     string
		accepted int
	}{
		{"none", fault{}, 200, "application/json", "{}\n", 1},
		{"502", fault{Status: 502}, 502, "text/html", "<h1>502 Bad Gateway</h1>", 0},
		{"500 after acceptance", fault{Status: 500, Accept: true}, 500, "text/html", "<html>", 1},
		{"403", fault{Status: 403}, 403, "application/json", `{"meta":{"error":"forbidden"}}`, 0},
		{"redirect", fault{Status: 307, Location: "https://track-eu.example"}, 307, "", "", 0},
		{"redirect after acceptance", fault{Status: 301, Location: "https://track-eu.example", Accept: true}, 301, "", "", 1},
		{"reset", fault{Break: customeriotest.Reset}, 0, "", "", 0},
		{"reset after acceptance", fault{Break: customeriotest.Reset, Accept: true}, 0, "", "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				c.Script(row.fault)
				r := c.send("PUT", "/api/v1/customers/a%2Fb?x=1", `{}`)
				if row.status == 0 {
					if r.err == nil {
						t.Errorf("answered %d", r.status)
					}
				} else {
					c.want(r, row.status, row.body)
					if !strings.HasPrefix(r.header.Get("Content-Type"), row.kind) {
						t.Errorf("content type %q", r.header.Get("Content-Type"))
					}
				}
				if row.fault.Location != "" {
					if got, want := r.header.Get("Location"), "https://track-eu.example/api/v1/customers/a%2Fb?x=1"; got != want {
						t.Errorf("redirected to %q, want %q", got, want)
					}
				}
				c.accepted(row.accepted)
				c.want(c.identify(), 200, "{}") // the script is used up
				c.accepted(row.accepted + 1)
			})
		})
	}
}

func TestCut(t *testing.T) {
	for _, row := range []struct {
		fault    customeriotest.Fault
		status   int
		accepted int
	}{
		{customeriotest.Fault{Break: customeriotest.Cut}, 200, 1},
		{customeriotest.Fault{Break: customeriotest.Cut, Status: 502}, 502, 0},
	} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				c.Script(row.fault)
				if r := c.identify(); r.status != row.status || !errors.Is(r.err, io.ErrUnexpectedEOF) {
					t.Errorf("answered %d, error %v; want %d, cut", r.status, r.err, row.status)
				}
				c.accepted(row.accepted)
			})
		})
	}
}

func TestSilence(t *testing.T) {
	for _, accept := range []bool{false, true} {
		bubble(t, nil, func(t *testing.T, c *client) {
			c.Script(customeriotest.Fault{Break: customeriotest.Silence, Accept: accept})
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			begin := time.Now()
			if r := c.do(c.request("PUT", "/api/v1/customers/1", `{}`).WithContext(ctx)); !errors.Is(r.err, context.DeadlineExceeded) {
				t.Errorf("answered %d, error %v", r.status, r.err)
			}
			if took := time.Since(begin); took != time.Hour {
				t.Errorf("ended after %s", took)
			}
			want := 0
			if accept {
				want = 1
			}
			c.accepted(want)
		})
	}
}

// Close does not wait for a silence, or a delay, to end.
func TestCloseEndsSilence(t *testing.T) {
	for _, fault := range []customeriotest.Fault{{Break: customeriotest.Silence}, {Delay: time.Hour}} {
		bubble(t, nil, func(t *testing.T, c *client) {
			c.Script(fault)
			answered := make(chan reply)
			begin := time.Now()
			go func() { answered <- c.identify() }()
			time.Sleep(time.Second)
			c.Close()
			if r := <-answered; r.err == nil || time.Since(begin) != time.Second {
				t.Errorf("answered %d after %s", r.status, time.Since(begin))
			}
			c.Close()
		})
	}
}

// As the handler of another's server: Close ends what waits, and nothing is answered after it.
func TestCloseAsAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := customeriotest.NewUnstartedServer(nil)
		serve := func() (panicked any) {
			defer func() { panicked = recover() }()
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/segments", nil))
			return nil
		}
		s.Script(customeriotest.Fault{Break: customeriotest.Silence})
		ended := make(chan any, 1)
		go func() { ended <- serve() }()
		synctest.Wait()
		s.Close()
		if p := <-ended; p != http.ErrAbortHandler {
			t.Errorf("the silent request ended with %v", p)
		}
		if p := serve(); p != http.ErrAbortHandler {
			t.Errorf("after Close a request ended with %v", p)
		}
	})
}

// What is answered late was accepted early: a client that gives up cannot know.
func TestDelay(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		c.Script(customeriotest.Fault{Delay: 5 * time.Second})
		begin := time.Now()
		answered := make(chan reply)
		go func() { answered <- c.identify() }()
		time.Sleep(time.Second)
		c.accepted(1)
		c.want(<-answered, 200, "{}")
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("answered after %s", took)
		}
	})
}

// A storm lasts for its span; outside the APIs that it is meant for nothing happens.
func TestSpans(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		begin := time.Now()
		c.SetFaults(customeriotest.Faults{
			Only: []customeriotest.API{customeriotest.Track},
			Spans: []customeriotest.Span{
				{From: begin.Add(10 * time.Second), Until: begin.Add(20 * time.Second), Fault: customeriotest.Fault{Status: 429}},
				{From: begin.Add(15 * time.Second), Fault: customeriotest.Fault{Status: 503}},
			},
		})
		for _, row := range []struct {
			at     time.Duration
			status int
		}{
			{0, 200}, {10*time.Second - 1, 200}, {10 * time.Second, 429}, {15 * time.Second, 429},
			{20*time.Second - 1, 429}, {20 * time.Second, 503}, {time.Hour, 503},
		} {
			at(begin, row.at)
			if r := c.identify(); r.status != row.status {
				t.Errorf("at %s: answered %d, want %d", row.at, r.status, row.status)
			}
			c.want(c.send("GET", "/v1/segments", ""), 200, "")
		}
		if v := c.Verdict(); v.RefusedForRate != 0 || v.Refused["429 fault"] != 3 {
			t.Errorf("%+v", v)
		}
		c.SetFaults(customeriotest.Faults{})
		c.want(c.identify(), 200, "")
	})
}

// A script comes before spans, and takes nothing from requests to other APIs.
func TestScriptComesFirst(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		c.SetFaults(customeriotest.Faults{
			Only:  []customeriotest.API{customeriotest.Track},
			Spans: []customeriotest.Span{{Fault: customeriotest.Fault{Status: 503}}},
		})
		c.Script(customeriotest.Fault{}, customeriotest.Fault{Status: 500})
		c.want(c.send("GET", "/v1/segments", ""), 200, "")
		c.want(c.identify(), 200, "")
		c.want(c.identify(), 500, "")
		c.want(c.identify(), 503, "")
	})
}

// A share of the requests meets each fault, the same ones in every run with the same seed.
func TestChances(t *testing.T) {
	n, off := 2000, 0.056
	if testing.Short() {
		n, off = 800, 0.089
	}
	run := func(t *testing.T, seed uint64) (statuses []int) {
		bubble(t, &customeriotest.Options{Limits: unlimited, Seed: seed}, func(t *testing.T, c *client) {
			c.SetFaults(customeriotest.Faults{Chances: []customeriotest.Chance{
				{Share: 0.1, Fault: customeriotest.Fault{Status: 502}},
				{Share: 0.3, Fault: customeriotest.Fault{Status: 503}},
			}})
			for range n {
				statuses = append(statuses, c.identify().status)
			}
		})
		return statuses
	}
	first, again, other := run(t, 1), run(t, 1), run(t, 2)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Error("the same seed made another run")
	}
	if fmt.Sprint(first) == fmt.Sprint(other) {
		t.Error("another seed made the same run")
	}
	met := map[int]int{}
	for _, s := range first {
		met[s]++
	}
	for status, share := range map[int]float64{502: 0.1, 503: 0.3, 200: 0.6} {
		// Five standard deviations of a share of one half: a right server is not outside by chance.
		if got := float64(met[status]) / float64(n); got < share-off || got > share+off {
			t.Errorf("a share of %.3f was answered %d, want about %.1f", got, status, share)
		}
	}
}

// Faults may change while requests run; each request meets the old ones or the new ones.
func TestFaultsChangeWhileRunning(t *testing.T) {
	bubble(t, &customeriotest.Options{Limits: unlimited}, func(t *testing.T, c *client) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					if r := c.identify(); r.status != 200 && r.status != 502 {
						t.Errorf("answered %d, error %v", r.status, r.err)
					}
				}
			})
		}
		for i := range 100 {
			c.SetFaults(customeriotest.Faults{Chances: []customeriotest.Chance{{Share: float64(i % 2), Fault: customeriotest.Fault{Status: 502}}}})
			c.Script(customeriotest.Fault{Status: 502})
			c.Verdict()
			c.Record()
		}
		wg.Wait()
		if v := c.Verdict(); v.Requests != 400 || v.Operations != len(c.Record()) || v.Operations > 300 {
			t.Errorf("%d requests, %s", v.Requests, v)
		}
	})
}

// On a real connection a reset is one, and a redirect to another host costs the client its credentials.
func TestRealConnections(t *testing.T) {
	s, other := customeriotest.NewServer(nil), customeriotest.NewServer(nil)
	defer s.Close()
	defer other.Close()
	c := &client{s, t, &http.Transport{}}
	defer c.tr.CloseIdleConnections()

	s.Script(customeriotest.Fault{Break: customeriotest.Reset})
	if r := c.identify(); !errors.Is(r.err, syscall.ECONNRESET) && !errors.Is(r.err, io.EOF) {
		t.Errorf("answered %d, error %v; want a reset", r.status, r.err)
	}
	c.accepted(0)

	elsewhere := strings.Replace(other.URL(), "127.0.0.1", "localhost", 1)
	s.Script(customeriotest.Fault{Status: 307, Location: elsewhere})
	a, err := (&http.Client{Transport: c.tr}).Do(c.request("PUT", "/api/v1/customers/1", `{}`))
	if err != nil {
		t.Fatal(err)
	}
	a.Body.Close()
	if v := other.Verdict(); a.StatusCode != 401 || v.Refused["401 credentials"] != 1 || v.Operations != 0 {
		t.Errorf("answered %d; the other host: %+v", a.StatusCode, v)
	}
}

// A request that the client breaks off was never made, and one after Close is not answered.
func TestBrokenOff(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		r := c.request("PUT", "/api/v1/customers/1", "")
		body, w := io.Pipe()
		r.Body = body
		go func() {
			w.Write([]byte(`{"plan":`))
			w.CloseWithError(errors.New("the client dies"))
		}()
		if a := c.do(r); a.err == nil {
			t.Errorf("answered %d", a.status)
		}
		c.accepted(0)
		c.Close()
		if a := c.identify(); a.err == nil {
			t.Errorf("answered %d after Close", a.status)
		}
	})
}
