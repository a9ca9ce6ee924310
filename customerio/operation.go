package customerio

import (
	"strings"

	"github.com/google/uuid"
)

// An Operation is one change of a person, an object or a delivery: an entry of the Track API v2.
// The methods of [Client] make the usual ones; [Client.Put] takes any. The fields are the fields of
// the API, and zero fields are left out.
type Operation struct {
	// Type is what the operation changes: TypePerson, TypeObject or TypeDelivery.
	Type string `json:"type"`
	// Action is what to do, such as ActionIdentify.
	Action string `json:"action"`
	// Identifiers name the person, object or delivery. Not for a merge.
	Identifiers Identifiers `json:"identifiers,omitzero"`
	// Primary and Secondary are the two people of a merge. The primary stays.
	Primary   Identifiers `json:"primary,omitzero"`
	Secondary Identifiers `json:"secondary,omitzero"`
	// Name is the name of an event, page or screen: at most 100 bytes, without the spaces around
	// it.
	Name string `json:"name,omitempty"`
	// ID is a ULID by which the service recognizes a repeated event. "": Put makes one from the
	// UUID of the operation. Only for events, pages and screens.
	ID string `json:"id,omitempty"`
	// Timestamp is when it happened, in Unix seconds. 0 means the moment of Put for events, pages,
	// screens and identifies of people, and none for others.
	Timestamp int64 `json:"timestamp,omitempty"`
	// Attributes are those of the person or object, or the data of the event. A time.Time, also
	// behind a pointer and within map[string]any and []any, is sent as Unix seconds, because rules
	// about times match nothing else (https://docs.customer.io/journeys/faq-timestamps); so are
	// those of devices and relationships. created_at takes Unix seconds or a time.Time alone. Text
	// must be UTF-8.
	Attributes map[string]any `json:"attributes,omitempty"`
	// Device is for ActionAddDevice and ActionDeleteDevice.
	Device *Device `json:"device,omitempty"`
	// Relationships are the objects of a person, or the people of an object.
	Relationships []Relationship `json:"cio_relationships,omitempty"`
}

// Types of an [Operation].
const (
	TypePerson   = "person"
	TypeObject   = "object"
	TypeDelivery = "delivery"
)

// Actions of an [Operation].
const (
	ActionIdentify            = "identify"
	ActionDelete              = "delete"
	ActionEvent               = "event"
	ActionPage                = "page"
	ActionScreen              = "screen"
	ActionSuppress            = "suppress"
	ActionUnsuppress          = "unsuppress"
	ActionAddDevice           = "add_device"
	ActionDeleteDevice        = "delete_device"
	ActionMerge               = "merge"
	ActionAddRelationships    = "add_relationships"
	ActionDeleteRelationships = "delete_relationships"
	ActionIdentifyAnonymous   = "identify_anonymous" // an object, by a person not yet known
)

// Identifiers name one person, object or delivery. Exactly one field is set; for an object, both
// ObjectTypeID and ObjectID, or CioObjectID. [ID], [Email], [Phone], [CioID] and [Object] make the
// usual ones.
//
// An identify may have AnonymousID beside another: it is then sent as the attribute anonymous_id,
// and the service joins what it knows of the two
// (https://docs.customer.io/journeys/merge-anonymous). For AnonymousID alone, which other
// integrations send, the specification of API v2 has no rule. Email has an @, Phone is in E.164. An
// id is sent as it is: the one with a space at its end is another person.
type Identifiers struct {
	ID           string `json:"id,omitempty"`
	Email        string `json:"email,omitempty"`
	Phone        string `json:"phone,omitempty"`
	CioID        string `json:"cio_id,omitempty"`
	AnonymousID  string `json:"anonymous_id,omitempty"` // of events, identifies and identify_anonymous
	ObjectTypeID string `json:"object_type_id,omitempty"`
	ObjectID     string `json:"object_id,omitempty"`
	CioObjectID  string `json:"cio_object_id,omitempty"`
}

// ID names a person by the application's own id.
func ID(id string) Identifiers { return Identifiers{ID: id} }

// Email names a person by email address.
func Email(address string) Identifiers { return Identifiers{Email: address} }

// Phone names a person by phone number in E.164, such as "+15551234567". Messages and segments do
// not accept it.
func Phone(number string) Identifiers { return Identifiers{Phone: number} }

// CioID names a person by the id that the service gave it, without the prefix "cio_" that paths of
// API v1 have.
func CioID(id string) Identifiers { return Identifiers{CioID: id} }

// Object names an object by type and id. typeID is the number that the service gave the type, such
// as "1".
func Object(typeID, id string) Identifiers {
	return Identifiers{ObjectTypeID: typeID, ObjectID: id}
}

// A Device receives push messages.
type Device struct {
	Token      string         `json:"token"`
	Platform   string         `json:"platform,omitempty"`  // "ios" or "android"; needed to add
	LastUsed   int64          `json:"last_used,omitempty"` // Unix seconds; 0: unknown
	Attributes map[string]any `json:"attributes,omitempty"`
}

// A Relationship is the other end of a relation, with the attributes of the relation.
type Relationship struct {
	Identifiers Identifiers    `json:"identifiers"`
	Attributes  map[string]any `json:"relationship_attributes,omitempty"`
}

// isEvent reports whether the service removes repetitions by ID.
func (o *Operation) isEvent() bool {
	return o.Type == TypePerson && (o.Action == ActionEvent || o.Action == ActionPage || o.Action == ActionScreen)
}

// timed reports whether Put sets the timestamp.
func (o *Operation) timed() bool {
	return o.isEvent() || o.Type == TypePerson && o.Action == ActionIdentify || o.Type == TypeDelivery
}

// key is the key of the order: the person or object as it is named; for a merge, the primary.
func (o *Operation) key() string {
	if o.Action == ActionMerge {
		return o.Primary.key()
	}
	if o.Type == TypeDelivery {
		return "delivery:" + o.Identifiers.ID
	}
	return o.Identifiers.key()
}

// key is the kind of an identifier and its value, so that the id "7" is not the phone "7".
func (i Identifiers) key() string {
	for _, f := range i.named() {
		if f.value == "" {
			continue
		}
		if f.name == "object_type_id" {
			return "object:" + f.value + "/" + i.ObjectID
		}
		return f.name + ":" + f.value
	}
	return ""
}

type named struct{ name, value string }

func (i Identifiers) named() []named {
	return []named{{"id", i.ID}, {"email", i.Email}, {"phone", i.Phone}, {"cio_id", i.CioID}, {"anonymous_id", i.AnonymousID},
		{"object_type_id", i.ObjectTypeID}, {"object_id", i.ObjectID}, {"cio_object_id", i.CioObjectID}}
}

// crockford is the alphabet of ULIDs.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ULID writes the 128 bits of a UUID as a ULID: 26 characters of Crockford's alphabet. So the ID of
// a stored event is the id under which the service knows it.
func ULID(id uuid.UUID) string {
	var text [26]byte
	bits, n := uint(0), 2 // 26 characters of 5 bits: the first is short of 2
	at := 0
	for _, b := range id {
		bits, n = bits<<8|uint(b), n+8
		for n >= 5 {
			n -= 5
			text[at] = crockford[bits>>n&31]
			at++
		}
	}
	return string(text[:])
}

// parseULID is the inverse of ULID, for an id of the caller.
func parseULID(text string) (id uuid.UUID, ok bool) {
	if len(text) != 26 || text[0] > '7' {
		return id, false
	}
	bits, n, at := uint(0), -2, 0
	for _, c := range []byte(strings.ToUpper(text)) {
		v := strings.IndexByte(crockford, c)
		if v < 0 {
			return id, false
		}
		bits, n = bits<<5|uint(v), n+5
		for n >= 8 {
			n -= 8
			id[at] = byte(bits >> n)
			at++
		}
	}
	return id, true
}
