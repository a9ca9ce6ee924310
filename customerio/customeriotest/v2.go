package customeriotest

import (
	"slices"
)

// v2Entity reads the operation that is the whole body.
func v2Entity(s *Server, c *call) (Operation, *problem) {
	if n, limit := len(c.body), s.o.Sizes.Entity; n > limit {
		return Operation{}, oversize(s.o.Open.OversizeStatus, "", n, limit)
	}
	return s.entity(c, c.body)
}

// entity reads one operation of the v2 API, alone or in a batch.
func (s *Server) entity(c *call, raw []byte) (Operation, *problem) {
	op := c.operation("", "")
	op.Body = raw
	f, p := parse("", raw)
	if p != nil {
		return op, p
	}
	if op.Type, p = f.needText("type"); p != nil {
		return op, p
	}
	if op.Action, p = f.needText("action"); p != nil {
		return op, p
	}
	switch op.Type {
	case "person":
		p = s.v2Person(&op, f)
	case "object":
		p = s.v2Object(&op, f)
	case "delivery":
		p = s.v2Delivery(&op, f)
	default:
		p = invalid("type", "must be person, object or delivery, not %.40q", op.Type)
	}
	return op, p
}

func (s *Server) v2Person(op *Operation, f fields) (p *problem) {
	if op.Action == "merge" {
		op.Subject, p = s.merge(f)
		return p
	}
	kinds := []string{"id", "email", "phone", "cio_id"}
	if op.isEvent() {
		kinds = append(kinds, "anonymous_id") // undocumented, but what other integrations send
	}
	ids, p := f.needChild("identifiers")
	if p != nil {
		return p
	}
	if op.Subject, p = s.person("identifiers", ids, kinds...); p != nil {
		return p
	}
	switch op.Action {
	case "identify":
		return s.v2Attributes(op, f)
	case "delete", "suppress", "unsuppress":
		return nil
	case "event", "page", "screen":
		return s.event(op, f, "attributes")
	case "add_relationships", "delete_relationships":
		return relationships(f, true)
	case "add_device", "delete_device":
		device, p := f.needChild("device")
		if p != nil {
			return p
		}
		return checkDevice(device, "token", op.Action == "add_device")
	}
	return invalid("action", "is unknown for a person: %.40q", op.Action)
}

// v2Attributes reads what an identify carries.
func (s *Server) v2Attributes(op *Operation, f fields) (p *problem) {
	attributes, p := f.child("attributes")
	if p != nil {
		return p
	}
	if p := s.checkAttributes("attributes.", attributes); p != nil {
		return p
	}
	if attributes != nil {
		op.Attributes = decode(f["attributes"])
	}
	if op.Timestamp, p = s.timestamp(f, "timestamp"); p != nil {
		return p
	}
	return relationships(f, false)
}

// relationships checks a list of objects with identifiers.
func relationships(f fields, needed bool) *problem {
	if !f.has("cio_relationships") && !needed {
		return nil
	}
	var list []struct{ Identifiers map[string]any }
	if p := f.list("cio_relationships", &list); p != nil {
		return p
	}
	if len(list) == 0 && needed {
		return required("cio_relationships")
	}
	for _, r := range list {
		if len(r.Identifiers) == 0 {
			return required("cio_relationships.identifiers")
		}
	}
	return nil
}

func (s *Server) v2Object(op *Operation, f fields) *problem {
	ids, p := f.needChild("identifiers")
	if p != nil {
		return p
	}
	keys := []string{"object_type_id", "object_id"}
	if ids.has("cio_object_id") {
		keys = []string{"cio_object_id"}
	}
	for i, key := range keys {
		id, p := ids.text(key)
		if p == nil {
			p = s.checkIdentifier(key, id)
		}
		if p != nil {
			p.Field = "identifiers." + key
			return p
		}
		if i > 0 {
			op.Subject += "/"
		}
		op.Subject += id
	}
	switch op.Action {
	case "identify", "identify_anonymous":
		return s.v2Attributes(op, f)
	case "delete":
		return nil
	case "add_relationships", "delete_relationships":
		return relationships(f, true)
	}
	return invalid("action", "is unknown for an object: %.40q", op.Action)
}

func (s *Server) v2Delivery(op *Operation, f fields) *problem {
	if op.Action != "event" {
		return invalid("action", "is unknown for a delivery: %.40q", op.Action)
	}
	ids, p := f.needChild("identifiers")
	if p != nil {
		return p
	}
	if op.Subject, p = s.person("identifiers", ids, "id"); p != nil {
		return p
	}
	if p := s.event(op, f, "attributes"); p != nil {
		return p
	}
	if !slices.Contains([]string{"opened", "converted", "delivered"}, op.Name) {
		return invalid("name", "must be opened, converted or delivered, not %q", op.Name)
	}
	if token, _ := op.Attributes["device_token"].(string); token == "" {
		return required("attributes.device_token")
	}
	return nil
}
