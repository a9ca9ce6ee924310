package customerio_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
)

// A message into the app has no address and no files. With one it is refused, and nothing is stored.
func TestToDoesNotBelongEverywhere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		type send func(customerio.Message) (uuid.UUID, error)
		ctx := t.Context()
		for channel, send := range map[string]send{
			"in_app":        func(m customerio.Message) (uuid.UUID, error) { return c.SendInApp(ctx, m) },
			"inbox_message": func(m customerio.Message) (uuid.UUID, error) { return c.SendInboxMessage(ctx, m) },
		} {
			if _, err := send(email("a@example.org")); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "To does not belong to "+channel) {
				t.Errorf("%s: %v", channel, err)
			}
			m := email("")
			m.Attachments = map[string][]byte{"a.txt": nil}
			if _, err := send(m); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "Attachments belong to an email, not to "+channel) {
				t.Errorf("%s: %v", channel, err)
			}
		}
		if s := c.Stats()[customerio.LaneTransactional]; s.Put != 0 {
			t.Errorf("%d messages were put, want none", s.Put)
		}
	})
}
