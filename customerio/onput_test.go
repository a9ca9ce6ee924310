package customerio_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/sender"
)

// OnPut is told what is put into each lane, alone, together and with a note, and the header that it
// adds is stored.
func TestOnPut(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		w.SetFaults(always(customeriotest.Fault{Status: 401}))
		var told []string
		c := w.open(func(o *customerio.Options) {
			o.OnPut = func(_ context.Context, e *outbox.Event) func(uuid.UUID, error) {
				if e.Header = maps.Clone(e.Header); e.Header == nil {
					e.Header = map[string]string{}
				}
				e.Header["trace"] = e.Kind
				kind := e.Kind
				return func(id uuid.UUID, err error) {
					if id == uuid.Nil || err != nil {
						t.Errorf("%s: %v, %v", kind, id, err)
					}
					told = append(told, kind)
				}
			}
		})
		ctx, who := t.Context(), customerio.ID("17")
		_, err1 := c.Identify(ctx, who, nil)
		_, err2 := c.With(customerio.Meta{NoteKey: "n", Note: []byte("x")}).Track(ctx, who, "bought", nil)
		_, err3 := c.SendEmail(ctx, email("a@example.org"))
		_, err4 := c.TriggerBroadcast(ctx, 1, customerio.Broadcast{})
		err5 := c.Together(ctx, func(c *customerio.Client) error {
			_, err := c.Suppress(ctx, who)
			return err
		})
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			t.Fatal(err)
		}
		if want := []string{"person.identify", "person.event", "send.email", "broadcast", "person.suppress"}; !slices.Equal(told, want) {
			t.Errorf("%q, want %q", told, want)
		}
		stored := 0
		for _, lane := range customerio.Lanes() {
			for it, err := range c.Lane(lane).Pending() {
				if err != nil || it.Header["trace"] != it.Kind {
					t.Errorf("%s: %v, %v", it.Kind, it.Header, err)
				}
				stored++
			}
		}
		if stored != 5 {
			t.Errorf("%d are stored, want 5", stored)
		}
	})
}

// Instrument sees each lane with its transport, and what it returns is used: a nil transport of a lane
// without credentials stays nil.
func TestInstrument(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, w *world) {
		put, sent := map[customerio.Lane]int{}, map[customerio.Lane]int{}
		var mu sync.Mutex
		var seen []customerio.Lane
		c := w.open(func(o *customerio.Options) {
			o.AppKey = ""
			o.Instrument = func(name customerio.Lane, o *outbox.Options, t sender.Transport) sender.Transport {
				seen = append(seen, name)
				o.OnPut = func(context.Context, *outbox.Event) func(uuid.UUID, error) { put[name]++; return nil }
				if t == nil {
					return sender.TransportFunc(func(context.Context, sender.Item) error { panic("no credentials") })
				}
				return sender.Wrap(t, func(ctx context.Context, items []sender.Item, send func(context.Context, []sender.Item) []error) []error {
					mu.Lock()
					defer mu.Unlock()
					sent[name] += len(items)
					return send(ctx, items)
				})
			}
		})
		if _, err := c.Identify(t.Context(), customerio.ID("17"), nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Lane(customerio.LaneTrack).Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(seen, customerio.Lanes()) {
			t.Errorf("it saw %q", seen)
		}
		if put[customerio.LaneTrack] != 1 || sent[customerio.LaneTrack] != 1 {
			t.Errorf("put %v, sent %v", put, sent)
		}
		if state := c.Lane(customerio.LaneBroadcast).Stats().State; state != sender.LaneStoring {
			t.Errorf("a lane without credentials is %s", state)
		}
	})
}
