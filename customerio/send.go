package customerio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Limits that the App API documents.
const (
	maxMessage     = 2_048_000 // bytes of the request
	maxAttachments = 2_000_000 // bytes of all files of an email, exclusive
	maxAudience    = 10_000    // ids of a broadcast
	maxAhead       = 90 * 24 * time.Hour
)

// A Message is a transactional message to one person.
type Message struct {
	// Template is the number of the transactional message, or its trigger name. An email needs none
	// if Extra has body, subject and from.
	Template string
	// Identifiers name the person: by ID, Email or CioID.
	Identifiers Identifiers
	// To is where the message goes. Of an email: an address, or several separated by commas;
	// required. Of a text or WhatsApp message: a phone number, such as "+15551234567"; "" means the
	// number in the template. Of a push message: the token of a device, or what else the API
	// documents; "" means as the template says. "" for other messages.
	To string
	// Attachments are the files of an email, by name: below 2,000,000 bytes in all, and below
	// 2,048,000 bytes with the rest of the message in base64. They are stored in the file until the
	// message is sent.
	Attachments map[string][]byte
	// Data fills the template.
	Data map[string]any
	// SendAt is when to send it, in Unix seconds, at most 90 days ahead. 0: at once.
	SendAt int64
	// Extra is what else the API documents for the channel, such as "from", "headers" or
	// "language". A field that is above is refused here.
	Extra map[string]any
}

// SendEmail sends an email. The message is durable when the call returns nil. It is sent at most
// once, unless Options.AtLeastOnce is set: a message whose answer was lost is among the dead of
// LaneTransactional. Messages to one person are sent in order. Errors are as of [Client.Put].
func (c *Client) SendEmail(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "email", m)
}

// SendPush sends a push message, as SendEmail does.
func (c *Client) SendPush(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "push", m)
}

// SendSMS sends a text message, as SendEmail does.
func (c *Client) SendSMS(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "sms", m)
}

// SendWhatsApp sends a WhatsApp message, as SendEmail does.
func (c *Client) SendWhatsApp(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "whatsapp", m)
}

// SendInApp sends a message into the app, as SendEmail does.
func (c *Client) SendInApp(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "in_app", m)
}

// SendInboxMessage sends a message into the inbox of the app, as SendEmail does.
func (c *Client) SendInboxMessage(ctx context.Context, m Message) (uuid.UUID, error) {
	return c.send(ctx, "inbox_message", m)
}

func (c *Client) send(ctx context.Context, channel string, m Message) (uuid.UUID, error) {
	if err := m.check(channel); err != nil {
		return uuid.Nil, err
	}
	body := map[string]any{"identifiers": m.Identifiers}
	if m.Template != "" {
		body["transactional_message_id"] = m.Template
		if n, err := strconv.ParseUint(m.Template, 10, 63); err == nil {
			body["transactional_message_id"] = n
		}
	}
	if m.To != "" {
		body["to"] = m.To
	}
	if len(m.Attachments) > 0 {
		body["attachments"] = m.Attachments
	}
	if m.Data != nil {
		body["message_data"] = m.Data
	}
	if m.SendAt != 0 {
		body["send_at"] = m.SendAt
	}
	return c.putApp(ctx, LaneTransactional, "send."+channel, m.Identifiers.key(), "/v1/send/"+channel, body, m.Extra)
}

func (m *Message) check(channel string) error {
	if err := m.Identifiers.check("identifiers", messageKinds); err != nil {
		return err
	}
	for _, f := range [...]struct{ name, value string }{{"Template", m.Template}, {"To", m.To}} {
		if strings.ContainsAny(f.value, "\r\n") || !utf8.ValidString(f.value) {
			return invalid(f.name, "has %d bytes, with a line break or what is not UTF-8 among them", len(f.value))
		}
	}
	switch {
	case channel == "email" && strings.TrimSpace(m.To) == "":
		return invalid("To", "is missing or blank")
	case (channel == "in_app" || channel == "inbox_message") && m.To != "":
		return invalid("To", "does not belong to %s", channel)
	case channel != "email" && len(m.Attachments) > 0:
		return invalid("Attachments", "belong to an email, not to %s", channel)
	case !m.attachable():
		return invalid("Attachments", "need a name each, of printable characters, and have %d bytes, less than %d", m.attached(), maxAttachments)
	case strings.TrimSpace(m.Template) != "":
	case channel != "email":
		return invalid("Template", "is missing or blank")
	default:
		for _, field := range []string{"body", "subject", "from"} {
			if s, _ := m.Extra[field].(string); strings.TrimSpace(s) == "" {
				return invalid("Extra."+field, "is missing or blank, and there is no Template")
			}
		}
	}
	if channel == "email" {
		if err := m.checkEnvelope(); err != nil {
			return err
		}
	}
	if err := checkTimestamp("SendAt", m.SendAt); err != nil {
		return err
	}
	if ahead := time.Until(time.Unix(m.SendAt, 0)); ahead > maxAhead {
		return invalid("SendAt", "is %v ahead, at most %v", ahead.Round(time.Hour), maxAhead)
	}
	return nil
}

// attached returns the size of all attachments.
func (m *Message) attached() (n int) {
	for _, content := range m.Attachments {
		n += len(content)
	}
	return n
}

// attachable reports whether the attachments are small enough and have names.
func (m *Message) attachable() bool {
	for name := range m.Attachments {
		if strings.TrimSpace(name) == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return false
		}
	}
	return m.attached() < maxAttachments
}

// A Broadcast says how to start an API-triggered broadcast. At most one of IDs, Emails and
// Recipients is set. If all are nil, it goes to the audience that the service has for it. A list
// that is empty and not nil is ErrInvalid: it is to nobody. So make a list with make or a literal
// if it may stay empty, because a nil list does not say that nobody is meant.
type Broadcast struct {
	IDs        []string       // at most 10,000
	Emails     []string       // at most 10,000
	Recipients map[string]any // a filter
	// Data fills the template.
	Data map[string]any
	// Extra is what else the API documents, such as "per_user_data", "data_file_url" or
	// "id_ignore_missing".
	Extra map[string]any
}

// TriggerBroadcast starts the broadcast with that number, as SendEmail sends a message, in
// LaneBroadcast. The service accepts one in ten seconds (Options.BroadcastEvery); others wait in
// the file.
func (c *Client) TriggerBroadcast(ctx context.Context, broadcast int, b Broadcast) (uuid.UUID, error) {
	if broadcast < 1 {
		return uuid.Nil, invalid("broadcast", "is %d, at least 1 expected", broadcast)
	}
	if err := b.check(); err != nil {
		return uuid.Nil, err
	}
	body := map[string]any{}
	if b.IDs != nil {
		body["ids"] = b.IDs
	}
	if b.Emails != nil {
		body["emails"] = b.Emails
	}
	if b.Recipients != nil {
		body["recipients"] = b.Recipients
	}
	if b.Data != nil {
		body["data"] = b.Data
	}
	number := strconv.Itoa(broadcast)
	return c.putApp(ctx, LaneBroadcast, "broadcast", "broadcast:"+number, "/v1/campaigns/"+number+"/triggers", body, b.Extra)
}

func (b *Broadcast) check() error {
	audiences := 0
	for _, has := range []bool{b.IDs != nil, b.Emails != nil, b.Recipients != nil, b.Extra["per_user_data"] != nil, b.Extra["data_file_url"] != nil} {
		if has {
			audiences++
		}
	}
	switch {
	case audiences > 1:
		return invalid("the audience", "is given %d times, at most 1", audiences)
	case b.IDs != nil && len(b.IDs) == 0:
		return invalid("IDs", "are an empty list: the broadcast is to nobody")
	case b.Emails != nil && len(b.Emails) == 0:
		return invalid("Emails", "are an empty list: the broadcast is to nobody")
	case len(b.IDs) > maxAudience:
		return invalid("IDs", "are %d, at most %d", len(b.IDs), maxAudience)
	case len(b.Emails) > maxAudience:
		return invalid("Emails", "are %d, at most %d", len(b.Emails), maxAudience)
	case b.Recipients != nil && len(b.Recipients) == 0:
		return invalid("Recipients", "is an empty filter, which the service refuses")
	}
	for _, field := range []string{"ids", "emails", "recipients"} {
		if _, has := b.Extra[field]; has {
			return invalid("Extra."+field, "has a field of its own")
		}
	}
	for i, id := range b.IDs {
		if err := ID(id).check(fmt.Sprintf("IDs[%d]", i), personKinds); err != nil {
			return err
		}
	}
	for i, address := range b.Emails {
		if err := checkEmail(fmt.Sprintf("Emails[%d]", i), address); err != nil {
			return err
		}
	}
	return checkPerUserData(b.Extra["per_user_data"])
}

// checkPerUserData requires data of at least one person, and of at most 10,000
// (https://docs.customer.io/integrations/api/app/, campaigns/{id}/triggers).
func checkPerUserData(data any) error {
	if data == nil {
		return nil
	}
	raw, err := encode("Extra.per_user_data", data)
	if err != nil {
		return err
	}
	var people []json.RawMessage
	if err := json.Unmarshal(raw, &people); err != nil {
		return invalid("Extra.per_user_data", "must be a list")
	}
	if n := len(people); n == 0 || n > maxAudience {
		return invalid("Extra.per_user_data", "are of %d people, from 1 to %d expected", n, maxAudience)
	}
	return nil
}

// headerPath is the header of an item that names its path, in the App API or in version 1 of the
// Track API.
const headerPath = "path"

// putApp stores a call of the App API.
func (c *Client) putApp(ctx context.Context, name Lane, kind, key, path string, body, extra map[string]any) (uuid.UUID, error) {
	for field, value := range extra {
		if body[field] != nil {
			return uuid.Nil, invalid("Extra."+field, "is there already, as a field of its own")
		}
		var err error
		if body[field], _, err = inSeconds("Extra."+field, value, maxDepth); err != nil { // send_at, but not what fills templates
			return uuid.Nil, err
		}
	}
	payload, err := encode("the body", body)
	if err != nil {
		return uuid.Nil, err
	}
	return c.keepApp(ctx, name, kind, key, path, payload)
}

// keepApp stores a call of the App API whose body is made.
func (c *Client) keepApp(ctx context.Context, name Lane, kind, key, path string, payload []byte) (uuid.UUID, error) {
	if c.o.AppKey == "" {
		return uuid.Nil, errNoApp
	}
	if n := len(payload); n > maxMessage {
		return uuid.Nil, invalid("the body", "has %d bytes as JSON, at most %d", n, maxMessage)
	}
	id, err := c.meta.name()
	if err != nil {
		return id, err
	}
	_, err = c.keep(ctx, name, outbox.Event{ID: id, Kind: kind, Key: key, Header: map[string]string{headerPath: path}, Payload: payload})
	return id, err
}

// appTransport sends stored calls of the App API.
type appTransport struct {
	*api
	receipts *receipts // nil: nobody asks for them
}

func (t *appTransport) Send(ctx context.Context, it sender.Item) error {
	path := it.Header[headerPath]
	if !strings.HasPrefix(path, "/v1/") {
		return sender.Permanent(errors.New("customerio: the item names no path of the App API"))
	}
	answer, err := t.post(ctx, path, it.Payload)
	if err == nil && t.receipts != nil {
		t.receipts.keep(it.Seq, answer.Body)
	}
	return err
}
