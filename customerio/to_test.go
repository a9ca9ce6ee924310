package customerio_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/customerio"
)

// Only an email has an address. Other messages with one are refused, and nothing is stored.
func TestToBelongsToAnEmail(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		type send func(customerio.Message) (uuid.UUID, error)
		ctx := t.Context()
		for channel, send := range map[string]send{
			"push":          func(m customerio.Message) (uuid.UUID, error) { return c.SendPush(ctx, m) },
			"sms":           func(m customerio.Message) (uuid.UUID, error) { return c.SendSMS(ctx, m) },
			"in_app":        func(m customerio.Message) (uuid.UUID, error) { return c.SendInApp(ctx, m) },
			"inbox_message": func(m customerio.Message) (uuid.UUID, error) { return c.SendInboxMessage(ctx, m) },
		} {
			if _, err := send(email("a@example.org")); !errors.Is(err, customerio.ErrInvalid) || !strings.Contains(err.Error(), "To belongs to an email, not to "+channel) {
				t.Errorf("%s: %v", channel, err)
			}
		}
		if s := c.Stats()[customerio.LaneTransactional]; s.Put != 0 {
			t.Errorf("%d messages were put, want none", s.Put)
		}
	})
}
