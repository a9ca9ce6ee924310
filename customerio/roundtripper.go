package customerio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender/httpsend"
)

// RoundTripper returns what makes the vendor's SDK, github.com/customerio/go-customerio, durable:
//
//	h := &http.Client{Transport: c.RoundTripper()}
//	track := sdk.NewTrackClient(site, key, sdk.WithHTTPClient(h))
//	app := sdk.NewAPIClient(key, sdk.WithHTTPClient(h))
//
// It stores what the SDK sends, each call in its lane, and answers 200 with an empty object when it
// is durable. So the SDK's responses have no delivery id and no trigger id: see Options.OnOutcome.
// Calls of a person become operations, and go in batches; with the same checks, whose errors the
// SDK returns. An event id that is no ULID is replaced by one made from it.
//
// It stores the calls of the SDK's methods, at the hosts of the options and of customer.io,
// whatever the region and the credentials: they are delivered with those of the options. Any other
// request is sent at once, by the transport of Options.Client.
func (c *Client) RoundTripper() http.RoundTripper {
	next := c.http.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &httpsend.Durable{
		Match:   func(req *http.Request) bool { return c.route(req) != nil },
		Next:    next,
		Put:     c.putRequest,
		MaxBody: maxMessage,
		Status:  http.StatusOK,
	}
}

// A call is one request of the SDK: what stands in its path for "*", and its body.
type call struct {
	args  []string
	query url.Values
	body  []byte
}

// A route stores the calls of one method of the SDK.
type route struct {
	method, path string
	put          func(c *Client, req *http.Request, k *call) (uuid.UUID, error)
}

// routes are the calls of the SDK. Those of version 1 of the Track API name a person in the path.
var routes = []route{
	{"PUT", "/api/v1/customers/*", operation(v1Identify)},
	{"DELETE", "/api/v1/customers/*", operation(v1Action(ActionDelete))},
	{"POST", "/api/v1/customers/*/suppress", operation(v1Action(ActionSuppress))},
	{"POST", "/api/v1/customers/*/unsuppress", operation(v1Action(ActionUnsuppress))},
	{"POST", "/api/v1/customers/*/events", operation(v1Event)},
	{"PUT", "/api/v1/customers/*/devices", operation(v1Device)},
	{"DELETE", "/api/v1/customers/*/devices/*", operation(v1NoDevice)},
	{"POST", "/api/v1/merge_customers", operation(v1Merge)},
	{"POST", "/api/v1/events", v1Anonymous},
	{"POST", "/api/v1/segments/*/add_customers", v1Segment("add_customers")},
	{"POST", "/api/v1/segments/*/remove_customers", v1Segment("remove_customers")},
	{"POST", "/v1/send/*", v1Send},
	{"POST", "/v1/campaigns/*/triggers", v1Trigger},
}

// route returns the route of a request; nil: it is not one that we store.
func (c *Client) route(req *http.Request) *route {
	if req.URL == nil || !c.ours(req.URL.Hostname()) {
		return nil
	}
	for i := range routes {
		if r := &routes[i]; r.method == req.Method && c.args(r, req.URL) != nil {
			return r
		}
	}
	return nil
}

// ours reports whether a host is the host of an API.
func (c *Client) ours(host string) bool {
	if strings.HasSuffix(strings.ToLower(host), ".customer.io") {
		return true
	}
	for _, base := range []string{c.o.TrackURL, c.o.AppURL} {
		if u, err := url.Parse(base); err == nil && strings.EqualFold(u.Hostname(), host) {
			return true
		}
	}
	return false
}

// args returns what stands in a path for each "*"; nil: it is another path. The path of TrackURL or
// AppURL may come before it.
func (c *Client) args(r *route, at *url.URL) []string {
	want, have := strings.Split(r.path, "/"), strings.Split(at.EscapedPath(), "/")
	for _, base := range []string{c.o.TrackURL, c.o.AppURL} {
		if u, err := url.Parse(base); err == nil && u.Path != "" && strings.HasPrefix(at.EscapedPath(), u.EscapedPath()+"/") {
			have = strings.Split(strings.TrimPrefix(at.EscapedPath(), u.EscapedPath()), "/")
		}
	}
	if len(want) != len(have) {
		return nil
	}
	args := []string{}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return nil
		}
		if want[i] == "*" {
			arg, err := url.PathUnescape(have[i])
			if err != nil {
				return nil
			}
			args = append(args, arg)
		}
	}
	return args
}

// putRequest stores a request of the SDK.
func (c *Client) putRequest(req *http.Request, _ map[string]string, body []byte) (uuid.UUID, error) {
	r := c.route(req)
	if r == nil {
		return uuid.Nil, errors.New("customerio: not a request of the SDK") // Match has seen to that
	}
	return r.put(c, req, &call{c.args(r, req.URL), req.URL.Query(), body})
}

// operation is a route for calls that API v2 has.
func operation(of func(k *call) (Operation, error)) func(*Client, *http.Request, *call) (uuid.UUID, error) {
	return func(c *Client, req *http.Request, k *call) (uuid.UUID, error) {
		op, err := of(k)
		if err != nil {
			return uuid.Nil, err
		}
		return c.put(req.Context(), op)
	}
}

// v1Person names the person in a path, as version 1 reads it.
func (k *call) v1Person(action string) Operation {
	id := k.args[0]
	switch bare, isCio := strings.CutPrefix(id, "cio_"); {
	case isCio:
		return person(action, CioID(bare))
	case strings.Contains(id, "@"):
		return person(action, Email(id))
	}
	return person(action, ID(id))
}

// read decodes a body and keeps its numbers as they are. Errors never hold a value.
func (k *call) read(into any) error {
	if !json.Valid(k.body) {
		return invalid("the body", "of %d bytes is no JSON", len(k.body))
	}
	d := json.NewDecoder(bytes.NewReader(k.body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return invalid("the body", "of %d bytes has a %s at %q", len(k.body), kind.Value, kind.Field)
		}
		return invalid("the body", "of %d bytes is not what this call sends", len(k.body))
	}
	return nil
}

func v1Action(action string) func(k *call) (Operation, error) {
	return func(k *call) (Operation, error) { return k.v1Person(action), nil }
}

func v1Identify(k *call) (Operation, error) {
	op := k.v1Person(ActionIdentify)
	if err := k.read(&op.Attributes); err != nil {
		return op, err
	}
	if at, ok := op.Attributes["_timestamp"].(json.Number); ok {
		n, err := at.Int64()
		if err != nil {
			return op, invalid("_timestamp", "is no whole number")
		}
		op.Timestamp = n
		delete(op.Attributes, "_timestamp")
	}
	return op, nil
}

// v1EventBody is an event of version 1.
type v1EventBody struct {
	Name        string         `json:"name"`
	ID          string         `json:"id"`
	Timestamp   int64          `json:"timestamp"`
	Type        string         `json:"type"`
	AnonymousID string         `json:"anonymous_id"`
	Data        map[string]any `json:"data"`
}

// fill completes the operation of an event.
func (b *v1EventBody) fill(op *Operation) {
	if b.Type == ActionPage || b.Type == ActionScreen {
		op.Action = b.Type // anything else is an event
	}
	op.Name, op.ID, op.Timestamp, op.Attributes = b.Name, b.ID, b.Timestamp, b.Data
	if _, ok := parseULID(op.ID); !ok && op.ID != "" {
		op.ID = ULID(uuid.NewSHA1(uuid.Nil, []byte(op.ID)))
	}
}

func v1Event(k *call) (Operation, error) {
	op := k.v1Person(ActionEvent)
	var b v1EventBody
	err := k.read(&b)
	b.fill(&op)
	return op, err
}

func v1Anonymous(c *Client, req *http.Request, k *call) (uuid.UUID, error) {
	var b v1EventBody
	if err := k.read(&b); err != nil {
		return uuid.Nil, err
	}
	op := person(ActionEvent, Identifiers{AnonymousID: b.AnonymousID})
	b.fill(&op)
	if b.AnonymousID == "" {
		return c.invite(req.Context(), op)
	}
	return c.put(req.Context(), op)
}

func v1Device(k *call) (Operation, error) {
	op := k.v1Person(ActionAddDevice)
	var b struct {
		Device struct {
			ID         string         `json:"id"`
			Platform   string         `json:"platform"`
			LastUsed   any            `json:"last_used"` // the SDK writes a string
			Attributes map[string]any `json:"attributes"`
		} `json:"device"`
	}
	if err := k.read(&b); err != nil {
		return op, err
	}
	op.Device = &Device{Token: b.Device.ID, Platform: b.Device.Platform, Attributes: b.Device.Attributes}
	if b.Device.LastUsed != nil && b.Device.LastUsed != "" {
		n, err := strconv.ParseInt(fmt.Sprint(b.Device.LastUsed), 10, 64)
		if err != nil {
			return op, invalid("device.last_used", "is no whole number")
		}
		op.Device.LastUsed = n
	}
	return op, nil
}

func v1NoDevice(k *call) (Operation, error) {
	op := k.v1Person(ActionDeleteDevice)
	op.Device = &Device{Token: k.args[1]}
	return op, nil
}

func v1Merge(k *call) (Operation, error) {
	op := Operation{Type: TypePerson, Action: ActionMerge}
	var b struct{ Primary, Secondary Identifiers }
	err := k.read(&b)
	op.Primary, op.Secondary = b.Primary, b.Secondary
	return op, err
}

func v1Segment(action string) func(*Client, *http.Request, *call) (uuid.UUID, error) {
	return func(c *Client, req *http.Request, k *call) (uuid.UUID, error) {
		var b struct {
			IDs []string `json:"ids"`
		}
		if err := k.read(&b); err != nil {
			return uuid.Nil, err
		}
		segment, err := strconv.Atoi(k.args[0])
		if err != nil {
			return uuid.Nil, invalid("segment", "is no number")
		}
		people := make([]Identifiers, len(b.IDs))
		for i, id := range b.IDs {
			switch kind := k.query.Get("id_type"); kind {
			case "", "id":
				people[i] = ID(id)
			case "email":
				people[i] = Email(id)
			case "cio_id":
				people[i] = CioID(id)
			default:
				return uuid.Nil, invalid("id_type", "has %d bytes and is none of id, email, cio_id", len(kind))
			}
		}
		return c.segment(req.Context(), action, segment, people)
	}
}

func v1Send(c *Client, req *http.Request, k *call) (uuid.UUID, error) {
	var b struct {
		Identifiers Identifiers `json:"identifiers"`
	}
	if err := k.read(&b); err != nil {
		return uuid.Nil, err
	}
	if err := b.Identifiers.check("identifiers", messageKinds); err != nil {
		return uuid.Nil, err
	}
	return c.keepApp(req.Context(), LaneTransactional, "send."+k.args[0], b.Identifiers.key(), "/v1/send/"+url.PathEscape(k.args[0]), k.body)
}

func v1Trigger(c *Client, req *http.Request, k *call) (uuid.UUID, error) {
	var b map[string]any
	if err := k.read(&b); err != nil {
		return uuid.Nil, err
	}
	number, err := strconv.Atoi(k.args[0])
	if err != nil || number < 1 {
		return uuid.Nil, invalid("broadcast", "is no number, or below 1")
	}
	return c.keepApp(req.Context(), LaneBroadcast, "broadcast", "broadcast:"+k.args[0], "/v1/campaigns/"+k.args[0]+"/triggers", k.body)
}
