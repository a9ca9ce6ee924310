package customerio_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
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
