package customerio

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrInvalid: the service would refuse this, and nothing was stored. The error names the field, its
// length and the limit, and never the value.
var ErrInvalid = errors.New("customerio: invalid")

// Limits that the vendor documents, in bytes if no other unit is named:
// https://docs.customer.io/journeys/invalid-api-requests and
// https://docs.customer.io/integrations/api/track/.
const (
	maxIdentifier     = 150
	maxEventName      = 100
	maxAttributeName  = 150
	maxAttributeValue = 1000 // of a string, or of the JSON of other values
	maxAttributes     = 300  // in a call

	maxTimestamp = 1e11 // Unix seconds, exclusive: milliseconds are above. The vendor names no range
)

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrInvalid, field, fmt.Sprintf(format, args...))
}

// Check returns nil if the service accepts the operation, and otherwise ErrInvalid. It does not
// check the size of the whole operation. Put does the same before it stores anything. Where the
// vendor documents no rule, Check has none either.
func (o *Operation) Check() error {
	prepared, err := o.prepare()
	if err != nil {
		return err
	}
	return prepared.check()
}

// prepare returns the operation as it is sent: with times as Unix seconds, and the anonymous_id of
// an identify as the attribute that joins the two.
func (o *Operation) prepare() (p Operation, err error) {
	p = *o
	if p.Attributes, err = seconds("attributes", o.Attributes); err != nil {
		return p, err
	}
	who := p.Identifiers
	who.AnonymousID = ""
	if anonymous := p.Identifiers.AnonymousID; p.Type == TypePerson && p.Action == ActionIdentify && anonymous != "" && who != (Identifiers{}) {
		if _, has := p.Attributes[anonymousID]; has {
			return p, invalid("attributes."+anonymousID, "is there already, among the identifiers")
		}
		if err := (Identifiers{AnonymousID: anonymous}).check("identifiers", []string{anonymousID}); err != nil {
			return p, err
		}
		p.Identifiers, p.Attributes = who, maps.Clone(p.Attributes)
		if p.Attributes == nil {
			p.Attributes = map[string]any{}
		}
		p.Attributes[anonymousID] = anonymous
	}
	if o.Device != nil {
		d := *o.Device
		if d.Attributes, err = seconds("device.attributes", d.Attributes); err != nil {
			return p, err
		}
		p.Device = &d
	}
	p.Relationships = slices.Clone(o.Relationships)
	for i := range p.Relationships {
		r := &p.Relationships[i]
		if r.Attributes, err = seconds(fmt.Sprintf("cio_relationships[%d].relationship_attributes", i), r.Attributes); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (o *Operation) check() error {
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
		return errors.Join(o.Primary.check("primary", mergeKinds), o.Secondary.check("secondary", mergeKinds),
			o.only("identifiers", o.Identifiers == Identifiers{}))
	}
	kinds := personKinds
	if o.isEvent() || o.Action == ActionIdentify {
		kinds = append(kinds[:len(kinds):len(kinds)], anonymousID)
	}
	if err := o.Identifiers.check("identifiers", kinds); err != nil {
		return err
	}
	switch o.Action {
	case ActionIdentify:
		return errors.Join(checkAttributes("attributes", o.Attributes), checkEmailAttribute(o.Attributes), checkTimestamp("timestamp", o.Timestamp), checkRelationships(o.Relationships, objectKinds, false))
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
		kinds := personKinds
		if o.Action == ActionIdentifyAnonymous {
			kinds = []string{anonymousID}
		}
		return errors.Join(checkAttributes("attributes", o.Attributes), checkTimestamp("timestamp", o.Timestamp), checkRelationships(o.Relationships, kinds, false))
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

const anonymousID = "anonymous_id"

var (
	messageKinds = []string{"id", "email", "cio_id"} // of messages and segments
	personKinds  = []string{"id", "email", "phone", "cio_id"}
	mergeKinds   = []string{"id", "email", "cio_id"} // https://docs.customer.io/integrations/api/track/, merge
	objectKinds  = []string{"object_type_id", "object_id", "cio_object_id"}
)

// check requires exactly one identifier of these kinds. The type and the id of an object count as
// one. Spaces in and around an id are taken, because the vendor documents nothing about them.
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
		var err error
		switch f.name {
		case "email":
			err = checkEmail(at, f.value)
		case "phone":
			err = checkPhone(at, f.value)
		}
		if err != nil {
			return err
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
	case !utf8.ValidString(d.Token):
		return invalid("device.token", "has %d bytes that are not UTF-8", len(d.Token))
	}
	if _, err := encode("device.attributes", d.Attributes); err != nil {
		return err
	}
	return checkTimestamp("device.last_used", d.LastUsed)
}

func checkRelationships(rs []Relationship, kinds []string, needed bool) error {
	if needed && len(rs) == 0 {
		return invalid("cio_relationships", "are missing")
	}
	for i, r := range rs {
		at := fmt.Sprintf("cio_relationships[%d].", i)
		if err := r.Identifiers.check(at+"identifiers", kinds); err != nil {
			return err
		}
		if err := checkAttributes(at+"relationship_attributes", r.Attributes); err != nil {
			return err
		}
	}
	return nil
}

// checkEmailAttribute checks the address of a person whom another identifier names. "" removes it.
func checkEmailAttribute(attributes map[string]any) error {
	value, has := attributes["email"]
	if !has {
		return nil
	}
	raw, err := encode("attributes.email", value)
	var address string
	if err != nil || json.Unmarshal(raw, &address) != nil || address == "" {
		return err
	}
	return checkEmail("attributes.email", address)
}

// checkAttributes checks the attributes of a person, an object or a relationship, by the rules of
// https://docs.customer.io/journeys/invalid-api-requests. The data of events has no such limits.
func checkAttributes(field string, attributes map[string]any) error {
	if n := len(attributes); n > maxAttributes {
		return invalid(field, "are %d, at most %d", n, maxAttributes)
	}
	for name, value := range attributes {
		switch {
		case strings.TrimSpace(name) == "":
			return invalid(field, "have a name that is blank")
		case len(name) > maxAttributeName:
			return invalid(field, "have a name of %d bytes, at most %d", len(name), maxAttributeName)
		case !utf8.ValidString(name):
			return invalid(field, "have a name of %d bytes that is not UTF-8", len(name))
		case name == "cio_relationships" || name == "cio_subscription_preferences":
			continue // instructions, not attributes
		}
		raw, err := encodeAttribute(field+"."+name, name, value)
		if err != nil {
			return err
		}
		n := len(raw)
		var text *string
		if json.Unmarshal(raw, &text) == nil && text != nil {
			n = len(*text)
		}
		if n > maxAttributeValue {
			return invalid(field+"."+name, "has a value of %d bytes, at most %d", n, maxAttributeValue)
		}
	}
	return nil
}

// checkTimestamp requires Unix seconds; 0: none.
func checkTimestamp(field string, t int64) error {
	switch {
	case t >= 0 && t < maxTimestamp:
		return nil
	case t >= maxTimestamp:
		return invalid(field, "must be Unix seconds below %.0f, and looks like milliseconds", float64(maxTimestamp))
	}
	return invalid(field, "must be Unix seconds above 0")
}
