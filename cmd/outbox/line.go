package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
)

// event makes an event of a line, whose payload is the line. Its kind, key and ID are what the
// paths lead to.
func (r *relay) event(line []byte) (e outbox.Event, err error) {
	e = outbox.Event{Kind: "line", Payload: bytes.Clone(line)}
	if r.id == "" && r.key == "" && r.kind == "" {
		return e, nil
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil || d.More() {
		return e, errors.New("it is not JSON") // an error would show what is in it
	}
	if r.kind != "" {
		e.Kind = lookUp(doc, r.kind)
	}
	if r.key != "" {
		e.Key = lookUp(doc, r.key)
	}
	if r.id == "" {
		return e, nil
	}
	text := lookUp(doc, r.id)
	if text == "" {
		return e, fmt.Errorf("there is no ID at %s", r.id)
	}
	if e.ID, err = uuid.Parse(text); err != nil {
		e.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte(text))
	}
	return e, nil
}

// lookUp returns what a path leads to, as text; "": nothing.
func lookUp(doc any, path string) string {
	for name := range strings.SplitSeq(path[1:], ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return ""
		}
		doc = object[name]
	}
	switch v := doc.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	}
	text, err := json.Marshal(doc)
	if err != nil { // it was JSON
		return ""
	}
	return string(text)
}
