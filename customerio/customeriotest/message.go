package customeriotest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"time"
)

const (
	maxRecipients  = 15                  // to, cc and bcc together
	maxAttachments = 2_000_000           // bytes, decoded, of all together
	maxAhead       = 90 * 24 * time.Hour // send_at
)

// message handles a call that sends a transactional message.
func message(channel string) func(*Server, *call) answer {
	return func(s *Server, c *call) answer {
		op, sendAt, p := s.message(c, channel)
		if p != nil {
			return s.refuse(c, p)
		}
		s.accept(c, &op)
		a := object{"delivery_id": fmt.Sprintf("delivery-%d", c.number), "queued_at": c.at.Unix()}
		if sendAt != 0 {
			a["send_at"] = sendAt
		}
		return ok(a)
	}
}

func (s *Server) message(c *call, channel string) (op Operation, sendAt int64, p *problem) {
	op = c.operation("message", channel)
	if n, limit := len(c.body), s.o.Sizes.Message; n > limit {
		return op, 0, oversize(http.StatusRequestEntityTooLarge, "", n, limit)
	}
	f, p := parse("", c.body)
	if p != nil {
		return op, 0, p
	}
	ids, p := f.needChild("identifiers")
	if p != nil {
		return op, 0, p
	}
	if op.Subject, p = s.person("identifiers", ids, "id", "email", "cio_id"); p != nil {
		return op, 0, p
	}
	if p := checkTemplate(f, channel); p != nil {
		return op, 0, p
	}
	if op.Attributes, p = f.values("message_data"); p != nil {
		return op, 0, p
	}
	if sendAt, p = s.timestamp(f, "send_at"); p != nil {
		return op, 0, p
	}
	if last := c.at.Add(maxAhead).Unix(); sendAt > last {
		return op, 0, invalid("send_at", "is %d, at most %d is allowed: 90 days ahead", sendAt, last)
	}
	if channel == "email" {
		p = checkEmail(f)
	}
	return op, sendAt, p
}

// checkTemplate wants a message to send: a template by number or by trigger name, or, for an email,
// the text itself.
func checkTemplate(f fields, channel string) *problem {
	const template = "transactional_message_id"
	if f.has(template) {
		var number uint64
		if json.Unmarshal(f[template], &number) == nil {
			return nil
		}
		_, p := f.needText(template)
		return p
	}
	if channel != "email" {
		return required(template)
	}
	for _, key := range []string{"body", "subject", "from"} {
		if _, p := f.needText(key); p != nil {
			p.Message += " without a " + template
			return p
		}
	}
	return nil
}

func checkEmail(f fields) *problem {
	if _, p := f.needText("to"); p != nil {
		return p
	}
	recipients := 0
	for _, key := range []string{"to", "cc", "bcc"} {
		list, p := f.text(key)
		if p != nil {
			return p
		}
		if list == "" {
			continue
		}
		addresses, err := mail.ParseAddressList(list)
		if err != nil {
			return invalid(key, "is no list of addresses: %v", err)
		}
		recipients += len(addresses)
	}
	if recipients > maxRecipients {
		return invalid("to", "has, with cc and bcc, %d recipients, %d are allowed", recipients, maxRecipients)
	}
	attachments, p := f.child("attachments")
	if p != nil {
		return p
	}
	total := 0
	for name := range attachments {
		text, p := attachments.text(name)
		if p != nil {
			p.Field = "attachments." + name
			return p
		}
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return invalid("attachments."+name, "is not base64: %v", err)
		}
		total += len(content)
	}
	if total >= maxAttachments {
		return invalid("attachments", "have %d bytes, less than %d are allowed", total, maxAttachments)
	}
	return nil
}
