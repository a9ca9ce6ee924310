package httpsend_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// A body that is not as long as was announced is an error, down to a single byte, and is not stored.
func TestAnnouncedLength(t *testing.T) {
	for _, row := range []struct {
		announced int64
		body      string
		ok        bool
	}{
		{-1, "", true}, // it is not known
		{0, "", true},
		{0, "xy", true}, // 0 beside a body means the same
		{1, "x", true},
		{1, "", false},
		{1, "xy", false},
		{2, "x", false},
		{2, "xy", true},
	} {
		stored := 0
		d := &httpsend.Durable{Put: func(*http.Request, map[string]string, []byte) (uuid.UUID, error) {
			stored++
			return uuid.New(), nil
		}}
		req := request(t, "POST", "https://example.org/", "")
		body := &closing{Reader: strings.NewReader(row.body)}
		req.Body, req.ContentLength = body, row.announced
		_, err := d.RoundTrip(req)
		if (err == nil) != row.ok || (stored == 1) != row.ok || !body.closed {
			t.Errorf("%d bytes announced, %d came: stored %d times, closed %t, %v", row.announced, len(row.body), stored, body.closed, err)
		}
		if err != nil && !strings.Contains(err.Error(), "announced were") {
			t.Errorf("%d bytes announced, %d came: %v", row.announced, len(row.body), err)
		}
	}
}
