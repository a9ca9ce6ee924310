package customeriotest

import (
	"net/http"
	"strconv"
)

// track handles a call of the Track API that asks for one operation.
func track(parse func(*Server, *call) (Operation, *problem)) func(*Server, *call) answer {
	return func(s *Server, c *call) answer {
		op, p := parse(s, c)
		if p == nil {
			p = poisoned(c, op)
		}
		if p == nil {
			p = chosen(c, op)
		}
		if p != nil {
			return s.refuse(c, p)
		}
		s.accept(c, &op)
		return ok(struct{}{})
	}
}

// v1Person begins an operation on the person in the path.
func (s *Server) v1Person(c *call, action string) (Operation, *problem) {
	op := c.operation("person", action)
	op.Subject = c.args[0]
	return op, s.checkIdentifier("id", op.Subject)
}

// operation begins an operation that the body as a whole asks for.
func (c *call) operation(kind, action string) Operation {
	return Operation{API: c.route.api, Type: kind, Action: action, Body: c.body, IdempotencyKey: c.r.Header.Get("Idempotency-Key")}
}

func v1Bare(action string) func(*Server, *call) (Operation, *problem) {
	return func(s *Server, c *call) (Operation, *problem) { return s.v1Person(c, action) }
}

func v1Identify(s *Server, c *call) (Operation, *problem) {
	op, p := s.v1Person(c, "identify")
	if p != nil {
		return op, p
	}
	f, p := parse("", c.body)
	if p != nil {
		return op, p
	}
	if _, given := f["id"]; given {
		id, p := f.text("id")
		if p == nil {
			p = s.checkIdentifier("id", id)
		}
		if p != nil {
			return op, p
		}
	}
	op.Attributes = decode(c.body)
	if op.Timestamp, p = s.timestamp(f, "_timestamp"); p != nil {
		return op, p
	}
	return op, s.checkAttributes("", f)
}

func v1AddDevice(s *Server, c *call) (Operation, *problem) {
	op, p := s.v1Person(c, "add_device")
	if p != nil {
		return op, p
	}
	f, p := parse("", c.body)
	if p != nil {
		return op, p
	}
	device, p := f.needChild("device")
	if p != nil {
		return op, p
	}
	return op, checkDevice(device, "id", true)
}

// checkDevice wants a device with its token under key.
func checkDevice(device fields, key string, platform bool) *problem {
	if _, p := device.needText(key); p != nil {
		p.Field = "device." + p.Field
		return p
	}
	if !platform {
		return nil
	}
	if os, _ := device.text("platform"); os != "ios" && os != "android" {
		return invalid("device.platform", "must be ios or android")
	}
	return nil
}

func v1DeleteDevice(s *Server, c *call) (Operation, *problem) {
	op, p := s.v1Person(c, "delete_device")
	if p == nil && c.args[1] == "" {
		p = required("device")
	}
	op.Name = c.args[1]
	return op, p
}

func v1Event(s *Server, c *call) (Operation, *problem) {
	op, p := s.v1Person(c, "event")
	if p != nil {
		return op, p
	}
	_, p = s.v1EventBody(c, &op)
	return op, p
}

func v1AnonymousEvent(s *Server, c *call) (Operation, *problem) {
	op := c.operation("person", "event")
	f, p := s.v1EventBody(c, &op)
	if p == nil {
		op.Subject, p = f.text("anonymous_id") // may be blank: an invitation
	}
	return op, p
}

func (s *Server) v1EventBody(c *call, op *Operation) (fields, *problem) {
	f, p := parse("", c.body)
	if p != nil {
		return nil, p
	}
	kind, p := f.text("type")
	if p != nil {
		return nil, p
	}
	if kind == "page" || kind == "screen" {
		op.Action = kind // anything else is an event
	}
	if p := s.event(op, f, "data"); p != nil {
		return nil, p
	}
	if n, limit := len(f["data"]), s.o.Sizes.EventData; n > limit {
		return nil, oversize(http.StatusBadRequest, "data", n, limit)
	}
	return f, nil
}

func v1Merge(s *Server, c *call) (Operation, *problem) {
	op := c.operation("person", "merge")
	f, p := parse("", c.body)
	if p == nil {
		op.Subject, p = s.merge(f)
	}
	return op, p
}

func v1Segment(action string) func(*Server, *call) (Operation, *problem) {
	return func(s *Server, c *call) (Operation, *problem) {
		op := c.operation("segment", action)
		op.Subject = c.args[0]
		if _, err := strconv.ParseUint(op.Subject, 10, 64); err != nil {
			return op, invalid("segment", "must be a number, not %q", op.Subject)
		}
		switch kind := c.r.URL.Query().Get("id_type"); kind {
		case "", "id", "email", "cio_id":
		default:
			return op, invalid("id_type", "must be id, email or cio_id, not %q", kind)
		}
		f, p := parse("", c.body)
		if p != nil {
			return op, p
		}
		var ids []string
		if p := f.list("ids", &ids); p != nil {
			return op, p
		}
		if n := len(ids); n < 1 || n > 1000 {
			return op, invalid("ids", "are %d, from 1 to 1000 are allowed", n)
		}
		return op, nil
	}
}

func v1Form(s *Server, c *call) answer {
	a := track(func(s *Server, c *call) (Operation, *problem) {
		op := c.operation("form", "submit")
		op.Name = c.args[0]
		f, p := parse("", c.body)
		if p != nil {
			return op, p
		}
		data, p := f.needChild("data")
		if p != nil {
			return op, p
		}
		for _, kind := range []string{"id", "email"} {
			if id, p := data.text(kind); p == nil && id != "" {
				op.Subject, op.Attributes = id, decode(f["data"])
				return op, nil
			}
		}
		return op, invalid("data", "must have an id or an email")
	})(s, c)
	if a.status == http.StatusOK {
		return answer{status: http.StatusNoContent}
	}
	return a
}

func v1Metric(action string) func(*Server, *call) (Operation, *problem) {
	return func(s *Server, c *call) (Operation, *problem) {
		_, p := parse("", c.body)
		return c.operation("metric", action), p
	}
}

func v1Unsubscribe(s *Server, c *call) (Operation, *problem) {
	op := c.operation("delivery", "unsubscribe")
	op.Subject = c.args[0]
	return op, s.checkIdentifier("delivery", op.Subject)
}

// region tells where the account lives: here, so that a client that follows stays in the test.
func region(s *Server, c *call) answer {
	return ok(object{"url": "http://" + c.r.Host, "region": s.o.Region, "environment_id": 1})
}
