package customeriotest_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// A window rolls: it is not emptied at the turn of the second, and what came exactly one second ago
// has left it.
func TestRollingWindow(t *testing.T) {
	o := &customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{customeriotest.Track: {Requests: 2}}}
	bubble(t, o, func(t *testing.T, c *client) {
		begin := time.Now()
		for _, row := range []struct {
			at     time.Duration
			status int
		}{
			{0, 200},
			{900 * time.Millisecond, 200},
			{999 * time.Millisecond, 429},  // with those of 0 and 900ms
			{1000 * time.Millisecond, 429}, // with those of 900 and 999ms: refused requests count
			{1900 * time.Millisecond, 429}, // with those of 999 and 1000ms
			{1999 * time.Millisecond, 429}, // with those of 1000 and 1900ms
			{2899 * time.Millisecond, 429}, // with those of 1900 and 1999ms
			{2999 * time.Millisecond, 200}, // with that of 2899ms
			{4000 * time.Millisecond, 200},
		} {
			at(begin, row.at)
			if r := c.identify(); r.status != row.status {
				t.Errorf("at %s: answered %d, want %d", row.at, r.status, row.status)
			}
		}
		if v := c.Verdict(); v.FullestSecond != 3 || v.RefusedForRate != 5 || v.Operations != 4 || v.APIs[customeriotest.Queries].Requests != 0 {
			t.Errorf("%s", v)
		}
	})
}

// A wide window and the fullest second are counted side by side.
func TestWideWindow(t *testing.T) {
	o := &customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{customeriotest.Track: {Requests: 6, Window: 3 * time.Second}}}
	bubble(t, o, func(t *testing.T, c *client) {
		for second := range 3 {
			for range 2 {
				c.want(c.identify(), 200, "")
			}
			if second < 2 {
				time.Sleep(time.Second)
			}
		}
		c.want(c.identify(), 429, "")
		if a := c.Verdict().APIs[customeriotest.Track]; a.Fullest != 7 || a.FullestSecond != 3 {
			t.Errorf("%+v", a)
		}
	})
}

func TestRetryAfterForms(t *testing.T) {
	// The bubble begins at 2000-01-01 00:00:00 UTC, a Saturday; the storm is met a quarter of a second later.
	for _, row := range []struct {
		name   string
		told   customeriotest.RetryAfter
		header string
		passes time.Duration // after the beginning; 0: nothing is told
	}{
		{"none", customeriotest.RetryAfter{Delay: time.Minute}, "", 0},
		{"seconds", customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: 2 * time.Minute}, "120", 2*time.Minute + 250*time.Millisecond},
		{"seconds rounded up", customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: 1001 * time.Millisecond}, "2", 2250 * time.Millisecond},
		{"IMF-fixdate", customeriotest.RetryAfter{Form: customeriotest.IMFFixdate, Delay: time.Minute}, "Sat, 01 Jan 2000 00:01:01 GMT", 61 * time.Second},
		{"RFC 850", customeriotest.RetryAfter{Form: customeriotest.RFC850, Delay: time.Minute}, "Saturday, 01-Jan-00 00:01:01 GMT", 61 * time.Second},
		{"asctime", customeriotest.RetryAfter{Form: customeriotest.Asctime, Delay: time.Minute}, "Sat Jan  1 00:01:01 2000", 61 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, c *client) {
				begin := time.Now()
				time.Sleep(250 * time.Millisecond)
				c.Script(customeriotest.Fault{Status: 429, RetryAfter: row.told})
				r := c.identify()
				c.want(r, 429, "")
				if got := r.header.Get("Retry-After"); got != row.header {
					t.Errorf("Retry-After: %q, want %q", got, row.header)
				}
				if row.passes == 0 {
					time.Sleep(100 * time.Millisecond)
					c.identify()
					if early := c.Verdict().BeforeRetryAfter; early != 0 {
						t.Errorf("%d requests came early though nothing was told", early)
					}
					return
				}
				if _, err := http.ParseTime(row.header); err != nil && row.told.Form != customeriotest.Seconds {
					t.Error(err)
				}
				at(begin, row.passes-time.Nanosecond)
				c.identify()
				at(begin, row.passes)
				c.identify()
				if early := c.Verdict().BeforeRetryAfter; early != 1 {
					t.Errorf("%d requests came early, want 1", early)
				}
			})
		})
	}
}

// Those that were on their way when a Retry-After was told are forgiven, and no other API is bound by it.
func TestGrace(t *testing.T) {
	for _, row := range []struct {
		grace time.Duration
		early int // of two requests, 49 and 50ms after the telling
	}{{0, 1}, {-1, 2}, {time.Second, 0}} {
		bubble(t, &customeriotest.Options{Grace: row.grace}, func(t *testing.T, c *client) {
			begin := time.Now()
			tell := func(d time.Duration) customeriotest.Fault {
				return customeriotest.Fault{Status: 503, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: d}}
			}
			c.Script(tell(10 * time.Second))
			c.identify()
			at(begin, 49*time.Millisecond)
			c.identify()
			at(begin, 50*time.Millisecond)
			c.identify()
			c.send("GET", "/v1/segments", "")
			v := c.Verdict()
			if v.BeforeRetryAfter != row.early || v.APIs[customeriotest.Track].BeforeRetryAfter != row.early {
				t.Errorf("grace %s: %s, want %d early", row.grace, v, row.early)
			}
		})
	}
}

// A later Retry-After that ends sooner does not shorten an earlier one; one that ends later extends it.
func TestRetryAfterExtends(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		begin := time.Now()
		for _, d := range []time.Duration{10, 2, 20} {
			c.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: d * time.Second}})
			c.identify()
		}
		for _, when := range []time.Duration{5, 15, 20} {
			at(begin, when*time.Second)
			c.identify()
		}
		if early := c.Verdict().BeforeRetryAfter; early != 2 {
			t.Errorf("%d requests came early, want those at 5 and 15s", early)
		}
	})
}

// Above the rate the server can tell when there will be room, in whole seconds.
func TestRefusedForRateIsTold(t *testing.T) {
	o := &customeriotest.Options{
		RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds},
		Open:       customeriotest.Open{ThrottleStatus: 503},
	}
	bubble(t, o, func(t *testing.T, c *client) {
		trigger := func() reply { return c.send("POST", "/v1/campaigns/1/triggers", `{}`) }
		c.want(trigger(), 200, "")
		time.Sleep(3500 * time.Millisecond)
		r := trigger() // counts itself: the window has room ten seconds from now
		c.want(r, 503, "")
		if got := r.header.Get("Retry-After"); got != "10" {
			t.Fatalf("Retry-After: %q, want 10", got)
		}
		seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(seconds) * time.Second)
		c.want(trigger(), 200, "")
		if v := c.Verdict(); v.BeforeRetryAfter != 0 || v.APIs[customeriotest.Broadcasts].Fullest != 2 || v.RefusedForRate != 1 {
			t.Errorf("%+v", v)
		}
	})
}

// Room comes when as many as are above the limit have left, not only the oldest.
func TestRoomIsTold(t *testing.T) {
	o := &customeriotest.Options{
		RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds},
		Limits:     map[customeriotest.API]customeriotest.Limit{customeriotest.Track: {Requests: 2, Window: 10 * time.Second}},
	}
	bubble(t, o, func(t *testing.T, c *client) {
		begin := time.Now()
		for _, row := range []struct {
			at   time.Duration
			told string
		}{{0, ""}, {3 * time.Second, ""}, {5 * time.Second, "8"}, {6 * time.Second, "9"}} {
			at(begin, row.at)
			if got := c.identify().header.Get("Retry-After"); got != row.told {
				t.Errorf("at %s: Retry-After %q, want %q", row.at, got, row.told)
			}
		}
	})
}

// Many at once: each arrival is counted, and exactly the limit is let through.
func TestConcurrentArrivals(t *testing.T) {
	bubble(t, nil, func(t *testing.T, c *client) {
		var wg sync.WaitGroup
		for range 150 {
			wg.Go(func() { c.identify() })
		}
		wg.Wait()
		if v := c.Verdict(); v.FullestSecond != 150 || v.RefusedForRate != 50 || v.Operations != 100 || len(c.Record()) != 100 {
			t.Errorf("%s", v)
		}
	})
}
