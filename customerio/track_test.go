package customerio_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/internal/campaign"
)

// identifies are n, of people "from" and on.
func identifies(from, n int) (ops []customerio.Operation) {
	for i := range n {
		ops = append(ops, customerio.Operation{Type: "person", Action: "identify",
			Identifiers: customerio.ID(fmt.Sprint("p", from+i)), Attributes: map[string]any{"n": from + i}})
	}
	return ops
}

func put(t *testing.T, c *customerio.Client, ops ...customerio.Operation) {
	t.Helper()
	if _, err := c.Put(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
}

// Operations that wait share requests, up to the count and the bytes that the options allow; one alone
// goes by itself.
func TestBatchesFill(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		items, bytes int
		ops          int // after the first
		requests     int // at most, for these
	}{{0, 0, 2000, 6}, {100, 0, 2000, 20}, {0, 64_000, 2000, 6}, {1, 0, 200, 200}} {
		part := campaign.Pick(1, 1, 2)
		row.ops, row.requests = row.ops/part, row.requests/part
		o := customeriotest.Options{Open: customeriotest.Open{BatchItems: row.items}, Sizes: customeriotest.Sizes{Batch: row.bytes}}
		bubble(t, &o, func(t *testing.T, w *world) {
			c := w.open(func(o *customerio.Options) { o.BatchItems, o.BatchBytes = row.items, row.bytes })
			put(t, c, identifies(0, 1)...)
			w.flush(c)
			put(t, c, identifies(1, row.ops)...)
			w.flush(c)
			v := w.Verdict()
			if v.Unique != 1+row.ops || v.Duplicates != 0 || v.Requests > row.requests+1 || len(v.Refused) > 0 {
				t.Errorf("%+v: %d requests, %v", row, v.Requests, v)
			}
			if first := w.Record()[0]; first.Request != 1 || first.Index != 0 {
				t.Errorf("the first came as number %d of request %d", first.Index, first.Request)
			}
			w.check(c)
		})
	}
}

// Items that a 207 refuses are dead with reason, field and message; the others are delivered. An answer
// that names one twice does so once; one that does not tell whom it refuses loses nobody: the batch goes
// again in parts until it is known.
func TestRefusedItems(t *testing.T) {
	t.Parallel()
	for name, rewrite := range map[string]func(int, []customeriotest.Refusal) []customeriotest.Refusal{
		"told":         nil,
		"repeated":     customeriotest.IndexRepeated,
		"missing":      customeriotest.IndexMissing,
		"out of range": customeriotest.IndexOutOfRange,
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.SetFaults(customeriotest.Faults{Rewrite: rewrite, Refuse: func(o customeriotest.Operation) *customeriotest.Refusal {
				if o.Subject == "p3" || o.Subject == "p7" {
					return &customeriotest.Refusal{Reason: "invalid", Field: "attributes.n", Message: "is unlucky\r\nand echoes track-key"}
				}
				return nil
			}})
			c := w.open(nil)
			put(t, c, identifies(0, 20)...)
			w.flush(c)
			reasons := dead(t, c, customerio.LaneTrack)
			if len(reasons) != 2 {
				t.Errorf("%s: dead: %q", name, reasons)
			}
			for _, r := range reasons {
				if !strings.Contains(r, "invalid, field attributes.n, is unlucky  and echoes ***") {
					t.Errorf("%s: the reason is %q", name, r)
				}
			}
			v, s := w.Verdict(), c.Stats()[customerio.LaneTrack]
			if v.Unique != 18 || s.Delivered != 18 || s.Pending != 0 {
				t.Errorf("%s: %v, %d delivered, %d pending", name, v, s.Delivered, s.Pending)
			}
			w.check(c)
		})
	}
}

// An answer with more refusals than are read of it loses nobody either.
func TestLongRefusals(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(customeriotest.Faults{Refuse: func(o customeriotest.Operation) *customeriotest.Refusal {
			if strings.HasSuffix(o.Subject, "7") {
				return nil
			}
			return &customeriotest.Refusal{Reason: "invalid", Message: strings.Repeat("x", 1000)}
		}})
		c := w.open(nil)
		put(t, c, identifies(0, 300)...)
		w.flush(c)
		s := c.Stats()[customerio.LaneTrack]
		if v := w.Verdict(); s.Dead != 270 || s.Delivered != 30 || v.Unique != 30 || v.Requests > 30 {
			t.Errorf("%d dead, %d delivered, %d requests: %v", s.Dead, s.Delivered, v.Requests, v)
		}
	})
}

// A batch that is refused as a whole goes again in halves, until the one at fault is alone and dead.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 413, 422} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.SetFaults(customeriotest.Faults{Poison: func(o customeriotest.Operation) int {
				if o.Subject == "p42" {
					return status
				}
				return 0
			}})
			c := w.open(nil)
			put(t, c, identifies(0, 100)...)
			w.flush(c)
			reasons := dead(t, c, customerio.LaneTrack)
			if len(reasons) != 1 || !strings.Contains(reasons[0], fmt.Sprint(": ", status)) {
				t.Errorf("dead: %q", reasons)
			}
			// A tree of halves has 7 levels below 100, of at most two requests each.
			if v := w.Verdict(); v.Unique != 99 || v.Duplicates != 0 || v.Requests > 1+2*7 {
				t.Errorf("%d: %v", status, v)
			}
			w.check(c)
		})
	}
}

// What is no fault of an operation holds the lane, says why once, loses nothing, and ends when it ends:
// by itself, or with the settings corrected.
func TestHolds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		wrong  func(o *customerio.Options)
		faults customeriotest.Faults
		says   []string
	}{
		{"key", func(o *customerio.Options) { o.TrackKey = "mistyped" }, customeriotest.Faults{}, []string{"credentials refused", "check SiteID and TrackKey", "region us"}},
		{"region", nil, always(customeriotest.Fault{Status: 301, Location: "https://track-eu.customer.io"}), []string{"redirected to track-eu.customer.io", "other region"}},
		{"redirect that keeps the method", nil, always(customeriotest.Fault{Status: 307, Location: "https://track-eu.customer.io"}), []string{"redirected to track-eu.customer.io"}},
		{"403", nil, always(customeriotest.Fault{Status: 403}), []string{"credentials refused"}},
		{"address", func(o *customerio.Options) { o.TrackURL += "/elsewhere" }, customeriotest.Faults{}, []string{"no Track API at this address"}},
	} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.SetFaults(row.faults)
			c := w.open(row.wrong)
			put(t, c, identifies(0, 50)...)
			time.Sleep(10 * time.Minute)
			s := c.Stats()[customerio.LaneTrack]
			if s.Pending != 50 || s.Dead != 0 || s.Held == "" {
				t.Errorf("%s: %d pending, %d dead, held: %q", row.name, s.Pending, s.Dead, s.Held)
			}
			for _, text := range row.says {
				if !strings.Contains(s.Held, text) {
					t.Errorf("%s: held: %q, want %q", row.name, s.Held, text)
				}
			}
			if n := w.log.count("level=WARN", row.says[0]) + w.log.count("level=ERROR", row.says[0]); n != 1 {
				t.Errorf("%s: %d loud lines of ten minutes:\n%s", row.name, n, w.log)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			w.SetFaults(customeriotest.Faults{})
			c = w.open(nil)
			time.Sleep(2 * time.Minute) // the longest backoff of what served as a probe
			w.flush(c)
			if v := w.Verdict(); v.Unique != 50 || v.Duplicates != 0 {
				t.Errorf("%s: %v", row.name, v)
			}
			w.check(c)
		})
	}
}

func always(f customeriotest.Fault) customeriotest.Faults {
	return customeriotest.Faults{Spans: []customeriotest.Span{{Fault: f}}}
}

// A success that is not the service's is not taken for one.
func TestForeignAnswers(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		intercepted := true
		inner := w.http.Transport
		w.http.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			if !intercepted {
				return inner.RoundTrip(req)
			}
			page := io.NopCloser(strings.NewReader("<html>Welcome to our guest network</html>"))
			return &http.Response{StatusCode: 200, Body: page, Request: req, Header: http.Header{}}, nil
		})
		c := w.open(nil)
		put(t, c, identifies(0, 3)...)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := c.Stats()[customerio.LaneTrack]; s.Pending != 3 || !strings.Contains(s.Held, "not JSON") {
			t.Errorf("%d pending, held: %q", s.Pending, s.Held)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		intercepted = false
		c = w.open(nil)
		w.flush(c)
		if v := w.Verdict(); v.Unique != 3 {
			t.Error(v)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// Retry-After is obeyed in each of its forms, across a restart too, and the health line tells.
func TestThrottled(t *testing.T) {
	t.Parallel()
	for _, form := range []customeriotest.RetryForm{customeriotest.Untold, customeriotest.Seconds, customeriotest.IMFFixdate, customeriotest.RFC850, customeriotest.Asctime} {
		bubble(t, &customeriotest.Options{Grace: -1}, func(t *testing.T, w *world) {
			w.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: form, Delay: 30 * time.Second}})
			c := w.open(nil)
			put(t, c, identifies(0, 50)...)
			time.Sleep(15 * time.Second)
			s := c.Stats()[customerio.LaneTrack]
			if form != customeriotest.Untold && (s.PausedUntil.IsZero() || s.Pending != 50 || s.Rate > 41) {
				t.Errorf("form %v: paused until %v, %d pending, rate %v", form, s.PausedUntil, s.Pending, s.Rate)
			}
			if n := w.log.count("customerio: health", "lane=track", "pending=50", "in_flight=", "dead=0", "rate=", "paused_until="); form != customeriotest.Untold && n != 1 {
				t.Errorf("form %v: %d health lines in 15 seconds:\n%s", form, n, w.log)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			c = w.open(nil)
			time.Sleep(30 * time.Second)
			w.flush(c)
			if v := w.Verdict(); v.Unique != 50 || v.BeforeRetryAfter != 0 || v.RefusedForRate != 0 {
				t.Errorf("form %v: %v", form, v)
			}
			w.check(c)
		})
	}
}

// Without a backlog nothing is logged but what was found when the lanes were opened.
func TestQuietHealth(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.open(nil)
		opened := w.log.String()
		if n := w.log.count("nothing was there", "pending=0"); n != 4 || strings.Count(opened, "\n") != n {
			t.Errorf("%d of four new lanes are announced:\n%s", n, opened)
		}
		time.Sleep(time.Hour)
		if now := w.log.String(); now != opened {
			t.Errorf("logged:\n%s", now)
		}
	})
}

// After Close and Shutdown nothing is put, and what was not delivered lies in the file.
func TestCloseAndShutdown(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 503}))
		c := w.open(nil)
		put(t, c, identifies(0, 5)...)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error("the second time:", err)
		}
		if _, err := c.Put(t.Context(), identifies(0, 1)...); !errors.Is(err, outbox.ErrClosed) {
			t.Errorf("Put after Close: %v", err)
		}
		if _, err := c.With(customerio.Meta{NoteKey: "k", Note: []byte("v")}).Put(t.Context(), identifies(0, 1)...); err == nil {
			t.Error("a Put with a note after Close stores")
		}
		w.SetFaults(customeriotest.Faults{})
		c = w.open(nil)
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if v := w.Verdict(); v.Unique != 5 {
			t.Error(v)
		}
	})
}

// A note is kept with the operations of one call, or neither is.
func TestPutWithNote(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		if _, err := c.With(customerio.Meta{NoteKey: "line", Note: []byte("3")}).Put(t.Context(), identifies(0, 3)...); err != nil {
			t.Fatal(err)
		}
		bad := customerio.Operation{Type: "person", Action: "event", Identifiers: customerio.ID("1")}
		if _, err := c.With(customerio.Meta{NoteKey: "line", Note: []byte("4")}).Put(t.Context(), bad); !errors.Is(err, customerio.ErrInvalid) {
			t.Error(err)
		}
		w.flush(c)
		note, err := c.Note("line")
		if v := w.Verdict(); string(note) != "3" || err != nil || v.Unique != 3 {
			t.Errorf("the note is %q, %v; %v", note, err, v)
		}
	})
}
