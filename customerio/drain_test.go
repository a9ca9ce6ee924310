package customerio_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// Drain waits for all lanes, through an outage, a pause and the time between broadcasts, and for
// what is put meanwhile.
func TestDrain(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		began := time.Now()
		w.SetFaults(customeriotest.Faults{Spans: []customeriotest.Span{{Until: began.Add(5 * time.Minute), Fault: customeriotest.Fault{Status: 503}}}})
		c := w.open(func(o *customerio.Options) { o.AtLeastOnce = true })
		put(t, c, identifies(0, 30)...)
		for range 3 {
			if _, err := c.TriggerBroadcast(t.Context(), 12, customerio.Broadcast{}); err != nil {
				t.Fatal(err)
			}
		}
		drained := make(chan error, 1)
		go func() { drained <- c.Drain(t.Context()) }()
		time.Sleep(time.Minute)
		put(t, c, identifies(30, 10)...)
		err := <-drained
		if took := time.Since(began); err != nil || took < 5*time.Minute || took > 20*time.Minute {
			t.Errorf("after %v: %v", took, err)
		}
		for name, s := range c.Stats() {
			if s.Pending != 0 || s.Dead != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if v := w.Verdict(); v.Operations != 43 {
			t.Error(v)
		}
	})
}

// When ctx ends, the error says what remains in which lane, and why.
func TestDrainSaysWhatRemains(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 401}))
		c := w.open(nil)
		put(t, c, identifies(0, 3)...)
		err := c.Drain(deadline(t, time.Minute))
		for _, want := range []string{"customerio: drain: lane track of ", ": 3 pending (", "held: ", "check SiteID and TrackKey", "deadline exceeded"} {
			if err == nil || strings.Count(err.Error(), want) != 1 {
				t.Errorf("%v, want once %q", err, want)
			}
		}
		if !errors.Is(err, outbox.ErrPending) || !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "lane import") {
			t.Errorf("%v", err)
		}
		// A client without the credentials of a lane cannot deliver what it holds.
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		c = w.open(func(o *customerio.Options) { o.SiteID, o.TrackKey = "", "" })
		began := time.Now()
		if err := c.Drain(t.Context()); !errors.Is(err, outbox.ErrPending) || !strings.Contains(err.Error(), "no transport") || time.Since(began) > time.Second {
			t.Errorf("without credentials, after %v: %v", time.Since(began), err)
		}
	})
}

// A Shutdown ends Drain, which says what remains.
func TestDrainAndShutdown(t *testing.T) {
	for _, row := range []struct {
		fault customeriotest.Fault
		left  bool
	}{{customeriotest.Fault{Delay: time.Second}, false}, {customeriotest.Fault{Status: 401}, true}} {
		bubble(t, nil, func(t *testing.T, w *world) {
			w.SetFaults(always(row.fault))
			c := w.open(nil)
			put(t, c, identifies(0, 3)...)
			drained := make(chan error, 1)
			go func() { drained <- c.Drain(t.Context()) }()
			synctest.Wait()
			if err := c.Shutdown(deadline(t, time.Minute)); errors.Is(err, outbox.ErrPending) != row.left {
				t.Errorf("shutdown: %v", err)
			}
			err := <-drained
			if row.left != (errors.Is(err, outbox.ErrPending) && errors.Is(err, outbox.ErrClosed)) || !row.left && err != nil {
				t.Errorf("%+v: %v", row, err)
			}
			if err := c.Drain(t.Context()); !errors.Is(err, outbox.ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}
