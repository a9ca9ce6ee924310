package customerio

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrInvalid: the service would refuse this, and nothing was stored. The error names the field, its
// length and the limit, and never the value.
var ErrInvalid = errors.New("customerio: invalid")

// Limits that the service documents, in bytes if no other unit is named.
const (
	maxIdentifier     = 150
	maxEventName      = 100
	maxAttributeName  = 150
	maxAttributeValue = 1000 // of a string, or of the JSON of other values
	maxAttributes     = 300  // in a call

	minTimestamp = 1e8  // Unix seconds, exclusive: in 1973
	maxTimestamp = 1e11 // exclusive: milliseconds are above
)

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrInvalid, field, fmt.Sprintf(format, args...))
}

// Check returns nil if the service accepts the operation, and otherwise ErrInvalid. It does not
// check the size of the whole operation. Put does the same before it stores anything.
func (o *Operation) Check() error {
	switch o.Type {
	case TypePerson:
		return o.checkPerson()
	case TypeObject:
		return o.checkObject()
	case TypeDelivery:
		return o.checkDelivery()
	}
	return invalid("type", "must be person, object or delivery")
}

func (o *Operation) checkPerson() error {
	if o.Action == ActionMerge {
		return errors.Join(o.Primary.check("primary", personKinds), o.Secondary.check("secondary", personKinds),
			o.only("identifiers", o.Identifiers == Identifiers{}))
	}
	kinds := personKinds
	if o.isEvent() {
		kinds = append(kinds[:len(kinds):len(kinds)], "anonymous_id")
	}
	if err := o.Identifiers.check("identifiers", kinds); err != nil {
		return err
	}
	switch o.Action {
	case ActionIdentify:
		return errors.Join(checkAttributes(o.Attributes), checkTimestamp("timestamp", o.Timestamp), checkRelationships(o.Relationships, objectKinds, false))
	case ActionDelete, ActionSuppress, ActionUnsuppress:
		return checkTimestamp("timestamp", o.Timestamp)
	case ActionEvent, ActionPage, ActionScreen:
		return errors.Join(o.checkEvent(), checkTimestamp("timestamp", o.Timestamp))
	case ActionAddDevice, ActionDeleteDevice:
		return o.Device.check(o.Action == ActionAddDevice)
	case ActionAddRelationships, ActionDeleteRelationships:
		return checkRelationships(o.Relationships, objectKinds, true)
	}
	return invalid("action", "is none that a person has, with %d bytes", len(o.Action))
}

// only refuses a field that an action does not have.
func (o *Operation) only(field string, empty bool) error {
	if empty {
		return nil
	}
	return invalid(field, "does not belong to a %s", o.Action)
}

func (o *Operation) checkEvent() error {
	name := strings.TrimSpace(o.Name)
	switch {
	case name == "":
		return invalid("name", "is missing or blank")
	case len(name) > maxEventName:
		return invalid("name", "has %d bytes, at most %d", len(name), maxEventName)
	case !utf8.ValidString(name):
		return invalid("name", "has %d bytes that are not UTF-8", len(name))
	}
	if _, ok := parseULID(o.ID); !ok && o.ID != "" {
		return invalid("id", "has %d bytes and is no ULID, which has 26 of Crockford's alphabet", len(o.ID))
	}
	return nil
}

func (o *Operation) checkObject() error {
	if err := o.Identifiers.check("identifiers", objectKinds); err != nil {
		return err
	}
	switch o.Action {
	case ActionIdentify, ActionIdentifyAnonymous:
		return errors.Join(checkAttributes(o.Attributes), checkTimestamp("timestamp", o.Timestamp), checkRelationships(o.Relationships, personKinds, false))
	case ActionDelete:
		return nil
	case ActionAddRelationships, ActionDeleteRelationships:
		return checkRelationships(o.Relationships, personKinds, true)
	}
	return invalid("action", "is none that an object has, with %d bytes", len(o.Action))
}

func (o *Operation) checkDelivery() error {
	if o.Action != ActionEvent {
		return invalid("action", "of a delivery must be event")
	}
	if o.Name != "opened" && o.Name != "converted" && o.Name != "delivered" {
		return invalid("name", "of a delivery must be opened, converted or delivered, it has %d bytes", len(o.Name))
	}
	if token, _ := o.Attributes["device_token"].(string); token == "" {
		return invalid("attributes.device_token", "is missing")
	}
	return errors.Join(o.Identifiers.check("identifiers", []string{"id"}), checkTimestamp("timestamp", o.Timestamp))
}

var (
	personKinds = []string{"id", "email", "phone", "cio_id"}
	objectKinds = []string{"object_type_id", "object_id", "cio_object_id"}
)

// check requires exactly one identifier of these kinds. The type and the id of an object count as
// one.
func (i Identifiers) check(field string, kinds []string) error {
	count := 0
	for _, f := range i.named() {
		if f.value == "" {
			continue
		}
		at := field + "." + f.name
		known := false
		for _, kind := range kinds {
			known = known || kind == f.name
		}
		switch {
		case !known:
			return invalid(at, "does not belong here, but one of %s", strings.Join(kinds, ", "))
		case strings.TrimSpace(f.value) == "":
			return invalid(at, "is blank")
		case len(f.value) > maxIdentifier:
			return invalid(at, "has %d bytes, at most %d", len(f.value), maxIdentifier)
		case !utf8.ValidString(f.value):
			return invalid(at, "has %d bytes that are not UTF-8", len(f.value))
		}
		if f.name != "object_id" {
			count++
		}
	}
	switch {
	case (i.ObjectTypeID == "") != (i.ObjectID == ""):
		return invalid(field, "need both object_type_id and object_id")
	case count != 1:
		return invalid(field, "are %d, exactly one expected of %s", count, strings.Join(kinds, ", "))
	}
	return nil
}

func (d *Device) check(add bool) error {
	switch {
	case d == nil || strings.TrimSpace(d.Token) == "":
		return invalid("device.token", "is missing or blank")
	case add && d.Platform != "ios" && d.Platform != "android":
		return invalid("device.platform", "must be ios or android, it has %d bytes", len(d.Platform))
	}
	return checkTimestamp("device.last_used", d.LastUsed)
}

func checkRelationships(rs []Relationship, kinds []string, needed bool) error {
	if needed && len(rs) == 0 {
		return invalid("cio_relationships", "are missing")
	}
	for i, r := range rs {
		if err := r.Identifiers.check(fmt.Sprintf("cio_relationships[%d].identifiers", i), kinds); err != nil {
			return err
		}
	}
	return nil
}

// checkAttributes checks the attributes of a person or an object. The data of events has no such
// limits.
func checkAttributes(attributes map[string]any) error {
	if n := len(attributes); n > maxAttributes {
		return invalid("attributes", "are %d, at most %d", n, maxAttributes)
	}
	for name, value := range attributes {
		switch {
		case strings.TrimSpace(name) == "":
			return invalid("attributes", "have a name that is blank")
		case len(name) > maxAttributeName:
			return invalid("attributes", "have a name of %d bytes, at most %d", len(name), maxAttributeName)
		case name == "cio_relationships" || name == "cio_subscription_preferences":
			continue // instructions, not attributes
		}
		raw, err := encode("attributes."+name, value)
		if err != nil {
			return err
		}
		n := len(raw)
		if text, ok := value.(string); ok {
			n = len(text)
		}
		if n > maxAttributeValue {
			return invalid("attributes."+name, "has a value of %d bytes, at most %d", n, maxAttributeValue)
		}
		if f, err := strconv.ParseFloat(string(raw), 64); name == "created_at" && err == nil && f >= maxTimestamp {
			return invalid("attributes.created_at", "must be Unix seconds, and looks like milliseconds")
		}
	}
	return nil
}

// checkTimestamp requires Unix seconds; 0: none.
func checkTimestamp(field string, t int64) error {
	switch {
	case t == 0 || t > minTimestamp && t < maxTimestamp:
		return nil
	case t >= maxTimestamp:
		return invalid(field, "must be Unix seconds below %.0f, and looks like milliseconds", float64(maxTimestamp))
	}
	return invalid(field, "must be Unix seconds above %.0f", float64(minTimestamp))
}

// encode writes JSON without the escapes that only HTML needs.
func encode(field string, v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, invalid(field, "cannot be written as JSON: %s", unencodable(err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// unencodable says why encoding failed, without the text of the caller's MarshalJSON, which may
// contain the value.
func unencodable(err error) string {
	var kind *json.UnsupportedTypeError
	var value *json.UnsupportedValueError
	switch {
	case errors.As(err, &kind):
		return "it holds a " + kind.Type.String()
	case errors.As(err, &value):
		return "it holds " + value.Str // NaN, an infinity, or a cycle
	}
	return fmt.Sprintf("%T", err)
}
