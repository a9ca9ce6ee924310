package customerio

import (
	"net/url"
	"strings"
)

// maxEventData is the size of an event's data in API v1, in bytes
// (https://docs.customer.io/journeys/invalid-api-requests). An operation of API v2 has 32,000 in
// all.
const maxEventData = 100_000

// byV1 returns an event as a call of API v1: its path and its body. Without an identifier it is an
// invitation. "" means that v1 cannot name the
// person: it tells ids from addresses by their shape, and has no phone numbers
// (https://docs.customer.io/integrations/api/track/, identifier in the path).
func (o *Operation) byV1() (path string, body []byte, err error) {
	data, err := encode("attributes", o.Attributes)
	if err != nil {
		return "", nil, err
	}
	if n := len(data); n > maxEventData {
		return "", nil, invalid("attributes", "have %d bytes as JSON, at most %d", n, maxEventData)
	}
	fields := map[string]any{"name": o.Name, "id": o.ID, "timestamp": o.Timestamp, "data": o.Attributes}
	if o.Action != ActionEvent {
		fields["type"] = o.Action
	}
	switch who := o.Identifiers; {
	case who == Identifiers{}:
		path = "/api/v1/events"
	case who.AnonymousID != "":
		path, fields[anonymousID] = "/api/v1/events", who.AnonymousID
	case who.CioID != "":
		path = customerPath("cio_" + strings.TrimPrefix(who.CioID, "cio_"))
	case who.Email != "":
		path = customerPath(who.Email)
	case who.ID != "" && !strings.Contains(who.ID, "@") && !strings.HasPrefix(who.ID, "cio_") && strings.Trim(who.ID, ".") != "":
		path = customerPath(who.ID)
	default:
		return "", nil, nil
	}
	body, err = encode("attributes", fields)
	return path, body, err
}

func customerPath(who string) string { return "/api/v1/customers/" + url.PathEscape(who) + "/events" }
