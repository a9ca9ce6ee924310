package customeriotest

import (
	"encoding/json"
	"strings"
)

// An Operation is one thing that a request asks for. A batch has many, every other request one.
// Calls of both versions of the Track API are told in the words of v2.
type Operation struct {
	API API
	// Type is "person", "object", "delivery", "segment", "form" or "metric" at the Track API, and
	// "message", "broadcast" or "import" at the App API.
	Type string
	// Action is what is to be done, such as "identify", "event", "page", "delete" or "suppress"
	// with a person; of a message its channel, such as "email".
	Action string
	// Subject is who it is about. A person by the identifier that was given, whatever its kind,
	// with the prefix "cio_" for a cio_id; of a merge the primary one. An object as "type/id". "":
	// nobody in particular.
	Subject string
	// Name is the name of an event, page or screen, without the spaces around it.
	Name string
	// EventID is the id by which the service removes duplicates; "": none.
	EventID string
	// Timestamp is in seconds since 1970; 0: none.
	Timestamp int64
	// Attributes are those of the person or object, the data of an event or broadcast, the
	// message_data of a message; as encoding/json decodes them. May be nil.
	Attributes map[string]any
	// IdempotencyKey is the header of that name that came with the request, which the service
	// ignores; "": none.
	IdempotencyKey string
	// Body is the JSON of the operation alone; empty where the service wants none.
	Body []byte
}

// isEvent reports whether the service removes duplicates of it by EventID.
func (o Operation) isEvent() bool {
	return o.Type == "person" && (o.Action == "event" || o.Action == "page" || o.Action == "screen")
}

// Attribute returns a function for Options.Sequence that reads the place of an operation from one
// of its attributes, a whole number. Operations without it have no place.
func Attribute(name string) func(Operation) (int64, bool) {
	return func(o Operation) (int64, bool) {
		f, ok := o.Attributes[name].(float64)
		return int64(f), ok && f == float64(int64(f))
	}
}

// Timestamp is a function for Options.Sequence that reads the place of an operation from its
// timestamp. Operations of the same second have no order.
func Timestamp(o Operation) (int64, bool) { return o.Timestamp, o.Timestamp != 0 }

// fields is a JSON object whose values have not been looked at.
type fields map[string]json.RawMessage

// parse reads a JSON object; field is its name in a refusal, "" for the body.
func parse(field string, raw []byte) (fields, *problem) {
	var f fields
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, invalid(field, "must be a JSON object: %v", err)
	}
	if f == nil {
		return nil, invalid(field, "must be a JSON object: it is null")
	}
	return f, nil
}

// has reports whether there is a value, and not null.
func (f fields) has(key string) bool {
	raw, ok := f[key]
	return ok && string(raw) != "null"
}

// text returns a string; "" if there is none.
func (f fields) text(key string) (string, *problem) {
	if !f.has(key) {
		return "", nil
	}
	var s string
	if json.Unmarshal(f[key], &s) != nil {
		return "", invalid(key, "must be a string")
	}
	return s, nil
}

// needText returns a string that is not blank.
func (f fields) needText(key string) (string, *problem) {
	s, p := f.text(key)
	if p == nil && strings.TrimSpace(s) == "" {
		p = required(key)
	}
	return s, p
}

// child returns an object, nil if there is none.
func (f fields) child(key string) (fields, *problem) {
	if !f.has(key) {
		return nil, nil
	}
	return parse(key, f[key])
}

// needChild returns an object that must be there.
func (f fields) needChild(key string) (fields, *problem) {
	if !f.has(key) {
		return nil, required(key)
	}
	return parse(key, f[key])
}

// values decodes an object; nil if there is none.
func (f fields) values(key string) (map[string]any, *problem) {
	if _, p := f.child(key); p != nil || !f.has(key) {
		return nil, p
	}
	return decode(f[key]), nil
}

// decode is for objects that parse has read.
func decode(raw []byte) map[string]any {
	var m map[string]any
	json.Unmarshal(raw, &m) // cannot fail any more, except for numbers beyond float64: those are left out
	return m
}

// list decodes an array into v; it must be there.
func (f fields) list(key string, v any) *problem {
	if !f.has(key) {
		return required(key)
	}
	if err := json.Unmarshal(f[key], v); err != nil {
		return invalid(key, "is not the list that belongs here: %v", err)
	}
	return nil
}
