package customerio_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// A deploy with a backlog of events and messages repeats nothing and leaves nothing dead.
func TestEndingRepeatsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(c *customerio.Client) error
		within time.Duration
	}{
		"Close": {(*customerio.Client).Close, 400 * time.Millisecond},
		"Shutdown": {func(c *customerio.Client) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return c.Shutdown(ctx)
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, w *world) {
				late := make([]customeriotest.Fault, 400)
				for i := range late {
					late[i].Delay = 300 * time.Millisecond
				}
				w.Script(late...)
				limits := func(o *customerio.Options) { o.BatchItems = 1 }
				client := w.open(limits)
				for i := range 100 {
					if _, err := client.SendEmail(t.Context(), customerio.Message{
						Identifiers: customerio.ID(fmt.Sprint(i)), To: "ann@example.com", Template: "1",
					}); err != nil {
						t.Fatal(err)
					}
					if _, err := client.Identify(t.Context(), customerio.ID(fmt.Sprint(i)), map[string]any{"n": i}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(450 * time.Millisecond)
				began := time.Now()
				if err := c.end(client); err != nil && !errors.Is(err, outbox.ErrPending) {
					t.Error(err)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %v, at most %v expected", took, c.within)
				}
				var delivered uint64
				for lane, s := range client.Stats() {
					delivered += s.Delivered
					if s.Dead != 0 {
						t.Errorf("lane %s: %d dead", lane, s.Dead)
					}
				}
				if n := uint64(len(w.Record())); n != delivered {
					t.Errorf("the service accepted %d, the client says %d", n, delivered)
				}
				client = w.open(limits)
				w.flush(client)
				if v := w.Verdict(); v.Operations != 200 || v.Duplicates != 0 {
					t.Errorf("%+v", v)
				}
			})
		})
	}
}

// A Shutdown without a context ends nothing.
func TestShutdownWithNilContext(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		var none context.Context
		if err := c.Shutdown(none); err == nil {
			t.Error("no error")
		}
		if _, err := c.Identify(t.Context(), customerio.ID("1"), nil); err != nil {
			t.Error(err)
		}
	})
}
