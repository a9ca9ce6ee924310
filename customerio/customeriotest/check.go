package customeriotest

import (
	"encoding/json"
	"strconv"
	"strings"
)

// checkIdentifier wants an identifier of a person or an object.
func (s *Server) checkIdentifier(field, id string) *problem {
	if strings.TrimSpace(id) == "" {
		return required(field)
	}
	if n, limit := len(id), s.o.Sizes.Identifier; n > limit {
		return invalid(field, "has %d bytes, %d are allowed", n, limit)
	}
	return nil
}

// checkAttributes wants attributes of a person or an object; field is what their names are under.
func (s *Server) checkAttributes(field string, attributes fields) *problem {
	z := s.o.Sizes
	if n := len(attributes); n > z.Attributes {
		return invalid(strings.TrimSuffix(field, "."), "are %d, %d are allowed", n, z.Attributes)
	}
	for name, raw := range attributes {
		if n := len(name); n > z.AttributeName {
			return invalid(field+name[:z.AttributeName], "is a name of %d bytes, %d are allowed", n, z.AttributeName)
		}
		if name == "cio_relationships" || name == "cio_subscription_preferences" {
			continue // instructions, not attributes
		}
		n := len(raw)
		var text string
		if json.Unmarshal(raw, &text) == nil {
			n = len(text)
		}
		if n > z.AttributeValue {
			return invalid(field+name, "has a value of %d bytes, %d are allowed", n, z.AttributeValue)
		}
	}
	return nil
}

// timestamp reads whole seconds since 1970; 0 if there are none.
func (s *Server) timestamp(f fields, key string) (int64, *problem) {
	if !f.has(key) {
		return 0, nil
	}
	t, err := strconv.ParseInt(string(f[key]), 10, 64)
	if err != nil {
		return 0, invalid(key, "must be whole seconds since 1970, not %.40s", f[key])
	}
	// An SDK begins at 10^9, in 2001; but the clock of a synctest bubble begins in 2000.
	if !s.o.Open.AnyTimestamp && (t <= 1e8 || t >= 1e11) {
		return 0, invalid(key, "must be seconds between 10^8 and 10^11, not %d", t)
	}
	return t, nil
}

// event reads what both versions of the API have in common; dataKey is where they differ.
func (s *Server) event(op *Operation, f fields, dataKey string) *problem {
	name, p := f.needText("name")
	if p != nil {
		return p
	}
	op.Name = strings.TrimSpace(name)
	if n, limit := len(op.Name), s.o.Sizes.EventName; n > limit {
		return invalid("name", "has %d bytes, %d are allowed", n, limit)
	}
	if op.EventID, p = f.text("id"); p != nil {
		return p
	}
	if op.EventID != "" && !s.o.Open.AnyEventID && !isULID(op.EventID) {
		return invalid("id", "must be a ULID, not %.40q", op.EventID)
	}
	if op.Timestamp, p = s.timestamp(f, "timestamp"); p != nil {
		return p
	}
	op.Attributes, p = f.values(dataKey)
	return p
}

// isULID wants 26 characters of Crockford's alphabet that fit into 128 bits.
func isULID(s string) bool {
	if len(s) != 26 || s[0] > '7' {
		return false
	}
	for _, c := range strings.ToUpper(s) {
		if !strings.ContainsRune("0123456789ABCDEFGHJKMNPQRSTVWXYZ", c) {
			return false
		}
	}
	return true
}

// person reads identifiers of a person: exactly one of kinds. field is what they are called.
func (s *Server) person(field string, ids fields, kinds ...string) (string, *problem) {
	if len(ids) != 1 {
		return "", invalid(field, "must be exactly one of %s, not %d", strings.Join(kinds, ", "), len(ids))
	}
	for _, kind := range kinds {
		if _, ok := ids[kind]; !ok {
			continue
		}
		id, p := ids.text(kind)
		if p == nil {
			p = s.checkIdentifier(kind, id)
		}
		if p != nil {
			p.Field = field + "." + kind
			return "", p
		}
		if kind == "cio_id" && !strings.HasPrefix(id, "cio_") {
			id = "cio_" + id
		}
		return id, nil
	}
	return "", invalid(field, "must be exactly one of %s", strings.Join(kinds, ", "))
}

// merge reads the two people of a merge, and returns the one that stays.
func (s *Server) merge(f fields) (string, *problem) {
	subject := ""
	for _, key := range []string{"secondary", "primary"} {
		ids, p := f.needChild(key)
		if p == nil {
			subject, p = s.person(key, ids, "id", "email", "cio_id")
		}
		if p != nil {
			return "", p
		}
	}
	return subject, nil
}
