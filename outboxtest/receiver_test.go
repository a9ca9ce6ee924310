package outboxtest_test

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// inAndOut runs f outside and inside a bubble.
func inAndOut(t *testing.T, f func(t *testing.T)) {
	t.Run("outside", f)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, f) })
}

// ask sends a request to v and returns its answer, whose body it has read.
func ask(t *testing.T, v *outboxtest.Receiver, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.URL+"/events", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := v.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(text)))
	return resp, err
}

// statuses asks n times and returns the answers; 0: there was none.
func statuses(t *testing.T, v *outboxtest.Receiver, n int) (got []int) {
	t.Helper()
	for range n {
		resp, err := ask(t, v, "a")
		if err != nil {
			got = append(got, 0)
		} else {
			got = append(got, resp.StatusCode)
		}
	}
	return got
}

func TestReceiverCountsAnyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Limit: 2, Window: time.Minute})
		if got := statuses(t, v, 1); got[0] != 200 {
			t.Fatalf("answered %d", got)
		}
		time.Sleep(50 * time.Second)
		if got := statuses(t, v, 2); !slices.Equal(got, []int{200, 429}) {
			t.Errorf("answered %d", got)
		}
		time.Sleep(9 * time.Second)
		if resp, err := ask(t, v, "a"); err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "51" {
			t.Errorf("after 59s: %v, %v", resp, err)
		}
		if got, want := v.Verdict(), (outboxtest.Verdict{Requests: 4, Accepted: 2, Repeated: 1, Throttled: 2, Fullest: 4, Early: 1, Took: 59 * time.Second}); got != want {
			t.Errorf("verdict %+v, want %+v", got, want)
		}
	})
}

// What a client must understand, and what it must not trust. The client of httpsend is told the wait.
func TestReceiverWritesRetryAfter(t *testing.T) {
	for form, want := range map[outboxtest.RetryAfter]string{
		outboxtest.Seconds: "5400", outboxtest.IMFDate: "Sat, 01 Jan 2000 02:30:00 GMT", outboxtest.RFC850: "Saturday, 01-Jan-00 02:30:00 GMT",
		outboxtest.ANSIC: "Sat Jan  1 02:30:00 2000", outboxtest.Absent: "", outboxtest.Negative: "-5400",
		outboxtest.Past: "Fri, 31 Dec 1999 23:30:00 GMT", outboxtest.Garbage: "soon", outboxtest.Huge: "99999999999",
	} {
		synctest.Test(t, func(t *testing.T) { // it begins in 2000
			v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{RetryAfter: form, Skew: time.Hour})
			v.Script(outboxtest.Fault{Status: 429, RetryAfter: 90 * time.Minute})
			resp, err := ask(t, v, "a")
			if err != nil {
				t.Fatal(err)
			}
			if got, date := resp.Header.Get("Retry-After"), resp.Header.Get("Date"); got != want || date != "Sat, 01 Jan 2000 01:00:00 GMT" {
				t.Errorf("Retry-After: %s, Date: %s; want %s", got, date, want)
			}
			wait, usable := httpsend.RetryAfter(resp.Header, time.Now())
			if usable && wait < 90*time.Minute {
				t.Errorf("%q asks to wait %v", want, wait)
			}
			time.Sleep(90*time.Minute - time.Millisecond)
			statuses(t, v, 1)
			told := form <= outboxtest.ANSIC
			if early := v.Verdict().Early; (early == 1) != told {
				t.Errorf("%q: %d were early a millisecond before", want, early)
			}
			time.Sleep(time.Millisecond)
			if early := v.Verdict().Early; statuses(t, v, 1)[0] != 200 || v.Verdict().Early != early {
				t.Errorf("%q: early when it had passed", want)
			}
		})
	}
}

func TestReceiverFaults(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, nil)
		v.Script(outboxtest.Fault{Status: 503}, outboxtest.Fault{}, outboxtest.Fault{Cut: true}, outboxtest.Fault{Status: 400, Cut: true})
		if got := statuses(t, v, 5); !slices.Equal(got, []int{503, 200, 0, 0, 200}) {
			t.Errorf("answered %d", got)
		}
		if got := v.Verdict(); got.Accepted != 3 || got.Repeated != 2 {
			t.Errorf("verdict %+v", got)
		}
		v.Outage(time.Hour)
		resp, err := ask(t, v, "a")
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "" {
			t.Errorf("in an outage: %v, %v", resp, err)
		}
		v.Outage(0)
		if got := statuses(t, v, 1); got[0] != 200 {
			t.Errorf("after the outage: %d", got)
		}
	})
}

func TestReceiverIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Latency: time.Second})
		v.Script(outboxtest.Fault{Delay: time.Minute}, outboxtest.Fault{Silent: true})
		began := time.Now()
		if got, took := statuses(t, v, 1), time.Since(began); got[0] != 200 || took != 61*time.Second {
			t.Errorf("answered %d after %v", got, took)
		}
		c := v.Client()
		c.Timeout = time.Hour
		if _, err := c.Get(v.URL); err == nil || time.Since(began) != time.Hour+61*time.Second {
			t.Errorf("error %v after %v", err, time.Since(began))
		}
		if got := v.Verdict(); got.Accepted != 2 {
			t.Errorf("verdict %+v", got)
		}
	})
}

func TestReceiverPartial(t *testing.T) {
	v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Partial: func(body []byte) (int, any) {
		return http.StatusMultiStatus, map[string]int{"taken": len(body)}
	}})
	resp, err := ask(t, v, "abc")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 207 || string(text) != "{\"taken\":3}\n" {
		t.Errorf("answered %d %q, %v", resp.StatusCode, text, err)
	}
	if v.Verdict().Accepted != 1 {
		t.Error("it was not accepted")
	}
}

// A client with manners passes, and each breach of them is seen and named.
func TestRequireManners(t *testing.T) {
	key := func(r *http.Request, body []byte) string { return strings.TrimRight(string(body), "0123456789") }
	for name, c := range map[string]struct {
		play func(t *testing.T, v *outboxtest.Receiver)
		want string // in the failure; "": it passes
	}{
		"nothing":      {func(*testing.T, *outboxtest.Receiver) {}, "no request has arrived"},
		"within limit": {func(t *testing.T, v *outboxtest.Receiver) { statuses(t, v, 3) }, ""},
		"beyond limit": {func(t *testing.T, v *outboxtest.Receiver) { statuses(t, v, 4) }, "4 requests in a window of 1s, 3 are allowed"},
		"other keys":   {func(t *testing.T, v *outboxtest.Receiver) { asks(t, v, "a1", "b1", "a2") }, ""},
		"retried first": {func(t *testing.T, v *outboxtest.Receiver) {
			v.Script(outboxtest.Fault{Status: 500})
			asks(t, v, "a1", "a1", "a2")
		}, ""},
		"overtaken": {func(t *testing.T, v *outboxtest.Receiver) {
			v.Script(outboxtest.Fault{Status: 500})
			asks(t, v, "a1", "a2", "a1")
		},
			`a request of key "a" was accepted after a later one`},
		"refused for good, then revived": {func(t *testing.T, v *outboxtest.Receiver) {
			v.Script(outboxtest.Fault{Status: 400})
			asks(t, v, "a1", "a2", "a1")
		}, ""},
		"repeated late": {func(t *testing.T, v *outboxtest.Receiver) { asks(t, v, "a1", "a2", "a1") }, ""},
		"early": {func(t *testing.T, v *outboxtest.Receiver) {
			v.Script(outboxtest.Fault{Status: 503, RetryAfter: time.Minute})
			asks(t, v, "a1")
			time.Sleep(59 * time.Second)
			asks(t, v, "a1")
		}, "1 of 2 requests arrived before a Retry-After had passed"},
		"side by side": {func(t *testing.T, v *outboxtest.Receiver) {
			v.Script(outboxtest.Fault{Delay: time.Second})
			done := make(chan error)
			go func() { _, err := ask(t, v, "a1"); done <- err }()
			synctest.Wait()
			asks(t, v, "a2")
			if err := <-done; err != nil {
				t.Error(err)
			}
		}, `two requests of key "a" at the same time`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{TB: t}
				v := outboxtest.NewReceiver(f, &outboxtest.ReceiverOptions{Limit: 3, Key: key})
				c.play(t, v)
				f.run(v.RequireManners)
				f.end()
				if got := f.failed(); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
					t.Errorf("it failed with %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A client that tells the order is held to it from the first request on.
func TestReceiverJudgesBySeq(t *testing.T) {
	for name, c := range map[string]struct {
		asked []string
		want  string // in the error; "": none
	}{
		"in order":      {[]string{"a1", "b1", "a2", "a10"}, ""},
		"a swap":        {[]string{"a1", "a3", "a2"}, `a request of key "a" was accepted after a later one`},
		"repeated late": {[]string{"a1", "a2", "a1", "a3"}, ""},
		"other keys":    {[]string{"a2", "b1", "a3", "b2"}, ""},
	} {
		v, err := outboxtest.StartReceiver(&outboxtest.ReceiverOptions{
			Key: func(_ *http.Request, body []byte) string { return string(body[:1]) },
			Seq: func(_ *http.Request, body []byte) uint64 {
				n, _ := strconv.ParseUint(string(body[1:]), 10, 64)
				return n
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		asks(t, v, c.asked...)
		if err := v.Manners(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		v.Close()
	}
}

// Faults come now and then, behind those of Script, and never in place of a 429.
func TestReceiverFaultsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Limit: 5, Faults: func(n int) outboxtest.Fault {
			if n%2 == 0 {
				return outboxtest.Fault{Status: 503}
			}
			return outboxtest.Fault{}
		}})
		v.Script(outboxtest.Fault{}, outboxtest.Fault{})
		if got := statuses(t, v, 7); !slices.Equal(got, []int{200, 200, 200, 503, 200, 429, 429}) {
			t.Errorf("answered %d", got)
		}
		if got := v.Verdict(); got.Failed != 1 || got.Throttled != 2 || got.Accepted != 4 {
			t.Errorf("verdict %+v", got)
		}
	})
}

// A program has no test: it starts, reads errors, and closes.
func TestReceiverOfAProgram(t *testing.T) {
	v, err := outboxtest.StartReceiver(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Manners(); err == nil || !strings.Contains(err.Error(), "no request has arrived") {
		t.Errorf("manners %v", err)
	}
	asks(t, v, "a")
	if err := v.Manners(); err != nil {
		t.Error(err)
	}
	addr := strings.TrimPrefix(v.URL, "http://")
	if _, err := outboxtest.StartReceiver(&outboxtest.ReceiverOptions{Addr: addr}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("a second one at %s: %v", addr, err)
	}
	v.Close()
	v.Close()
	if _, err := ask(t, v, "a"); err == nil || v.Verdict().Accepted != 1 {
		t.Errorf("after Close: %v, %+v", err, v.Verdict())
	}
	again, err := outboxtest.StartReceiver(&outboxtest.ReceiverOptions{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.URL != v.URL {
		t.Errorf("it listens on %s, want %s", again.URL, v.URL)
	}
}

func asks(t *testing.T, v *outboxtest.Receiver, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := ask(t, v, body); err != nil {
			t.Error(err)
		}
	}
}

// The server ends with the test, and whoever still waits for an answer has none.
func TestReceiverEnds(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		f := &fake{TB: t}
		v := outboxtest.NewReceiver(f, nil)
		v.Script(outboxtest.Fault{Silent: true})
		done := make(chan error)
		go func() { _, err := v.Client().Get(v.URL); done <- err }()
		for v.Verdict().Requests == 0 {
			time.Sleep(time.Millisecond)
		}
		f.end()
		if err := <-done; err == nil {
			t.Error("the request was answered")
		}
		if _, err := v.Client().Get(v.URL); err == nil {
			t.Error("it still answers")
		}
	})
}
