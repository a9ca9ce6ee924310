package customerio_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

// Two clients with one limiter never pass the limit of the service together, and use most of it.
func TestClientsShareALimit(t *testing.T) {
	t.Parallel()
	each := campaign.Pick(1000, 1000, 400)
	bubble(t, nil, func(t *testing.T, w *world) {
		track := limiter.Within(100, time.Second)
		began := time.Now()
		var all sync.WaitGroup
		for n := range 2 {
			w.path = filepath.Join(filepath.Dir(w.path), strconv.Itoa(n)+".db")
			c := w.open(func(o *customerio.Options) {
				o.BatchItems, o.Limiters.Track = 1, track
			})
			for i := range each {
				if _, err := c.Identify(t.Context(), customerio.ID(strconv.Itoa(n)+"-"+strconv.Itoa(i)), nil); err != nil {
					t.Fatal(err)
				}
			}
			all.Go(func() {
				if _, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(100))), nil); err != nil {
					t.Error(err)
				}
				w.flush(c)
			})
		}
		all.Wait()
		took := time.Since(began)
		v := w.Verdict()
		if v.RefusedForRate != 0 || v.FullestSecond > 100 || v.Operations != 2*each+200 {
			t.Errorf("two clients, %d operations: %v", 2*each+200, v)
		}
		if rate := float64(v.Requests) / took.Seconds(); rate < 80 {
			t.Errorf("%.1f requests a second, want about 90", rate)
		}
	})
}

// A counted is a limiter that allows everything and counts what starts.
type counted struct {
	starts, slowed atomic.Int64
	until          atomic.Pointer[time.Time] // the latest pause; nil: none
}

func (c *counted) Wait(context.Context) error { c.starts.Add(1); return nil }
func (c *counted) Pause(until time.Time)      { c.until.Store(&until) }
func (c *counted) Slow()                      { c.slowed.Add(1) }
func (c *counted) Rate() float64              { return 0 }

// A yielding is a counted that gives way.
type yielding struct {
	counted
	last atomic.Int64
}

func (y *yielding) WaitLast(context.Context) error { y.last.Add(1); return nil }

// Each API asks its limiter, and tells it of a 429.
func TestLimiters(t *testing.T) {
	t.Parallel()
	none := &customeriotest.Options{Limits: map[customeriotest.API]customeriotest.Limit{
		customeriotest.Broadcasts: {Requests: -1}, customeriotest.Track: {Requests: -1}, customeriotest.Queries: {Requests: -1},
	}}
	query := func(t *testing.T, c *customerio.Client) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "/v1/segments", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for name, f := range map[string]struct {
		set func(*customerio.Limiters, sender.Limiter)
		do  func(*testing.T, *customerio.Client, int)
	}{
		"track": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Track = m },
			func(t *testing.T, c *customerio.Client, i int) { put(t, c, identifies(i, 1)...) },
		},
		"credentials": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Track = m },
			func(t *testing.T, c *customerio.Client, i int) { _ = c.CheckCredentials(t.Context()) },
		},
		"import": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Track = m },
			func(t *testing.T, c *customerio.Client, i int) {
				rows := "id\nrow" + strconv.Itoa(i) + "\n"
				if _, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(rows)), nil); err != nil {
					t.Error(err)
				}
			},
		},
		"transactional": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Transactional = m },
			func(t *testing.T, c *customerio.Client, i int) {
				if _, err := c.SendEmail(t.Context(), email("a@example.org")); err != nil {
					t.Error(err)
				}
			},
		},
		"broadcast": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Broadcast = m },
			func(t *testing.T, c *customerio.Client, i int) {
				if _, err := c.TriggerBroadcast(t.Context(), i+1, customerio.Broadcast{}); err != nil {
					t.Error(err)
				}
			},
		},
		"query": {
			func(l *customerio.Limiters, m sender.Limiter) { l.Query = m },
			func(t *testing.T, c *customerio.Client, i int) { query(t, c) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, none, func(t *testing.T, w *world) {
				m := &counted{}
				c := w.open(func(o *customerio.Options) { f.set(&o.Limiters, m) })
				for i := range 3 {
					f.do(t, c, i)
					w.flush(c)
				}
				// A message takes another start if its commit was slow.
				if got := m.starts.Load(); got < 3 || m.slowed.Load() != 0 {
					t.Errorf("%d starts, slowed %d times, want 3 and 0", got, m.slowed.Load())
				}
				w.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: time.Minute}})
				began := time.Now()
				f.do(t, c, 3)
				w.flush(c)
				if until := m.until.Load(); m.slowed.Load() != 1 || until == nil || until.Before(began.Add(time.Minute)) {
					t.Errorf("after a 429: slowed %d times, paused until %v", m.slowed.Load(), until)
				}
			})
		})
	}
}

// An import asks for the last place at a limiter that has one.
func TestImportAsksForTheLastPlace(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		y := &yielding{}
		c := w.open(func(o *customerio.Options) { o.Limiters.Track = y })
		if _, err := c.Import(t.Context(), customerio.ReadCSV(strings.NewReader(people(1))), nil); err != nil {
			t.Fatal(err)
		}
		if last, others := y.last.Load(), y.starts.Load(); last != 1 || others != 0 {
			t.Errorf("%d starts in the last place and %d others, want 1 and 0", last, others)
		}
	})
}

// A limiter that cannot work, or that contradicts another option, is an error of Open that names it,
// before there is a file.
func TestInvalidLimiters(t *testing.T) {
	t.Parallel()
	m := &counted{}
	var missing *limiter.Limiter
	for want, o := range map[string]customerio.Options{
		"TrackLimit is 500, and Limiters.Track is set":                {TrackLimit: 500, Limiters: customerio.Limiters{Track: m}},
		"TransactionalLimit is 50, and Limiters.Transactional is set": {TransactionalLimit: 50, Limiters: customerio.Limiters{Transactional: m}},
		"BroadcastEvery is 5s, and Limiters.Broadcast is set":         {BroadcastEvery: 5 * time.Second, Limiters: customerio.Limiters{Broadcast: m}},
		"QueryLimit is 5, and Limiters.Query is set":                  {QueryLimit: 5, Limiters: customerio.Limiters{Query: m}},
		"Limiters.Query: limiter: Within: limit is 0":                 {Limiters: customerio.Limiters{Query: limiter.Within(0, time.Second)}},
		"Limiters.Track: limiter: a nil":                              {Limiters: customerio.Limiters{Track: missing}},
	} {
		o.SiteID, o.TrackKey = "site", "track-key"
		path := filepath.Join(t.TempDir(), "refused.db")
		c, err := customerio.Open(path, &o)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: there is a file: %v", want, err)
		}
	}
}
