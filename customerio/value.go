package customerio

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// createdAt is the attribute that says when a person signed up.
const createdAt = "created_at"

// maxDepth is how deep values are followed. A value that holds itself is left to encoding/json,
// which refuses it.
const maxDepth = 1000

// seconds returns attributes in which each time.Time, also behind a pointer and within
// map[string]any and []any, is a number of Unix seconds. Rules about times match no other form
// (https://docs.customer.io/journeys/faq-timestamps). It leaves the caller's map as it is.
func seconds(field string, attributes map[string]any) (map[string]any, error) {
	v, changed, err := inSeconds(field, attributes, 0)
	if !changed || err != nil {
		return attributes, err
	}
	return v.(map[string]any), nil
}

func inSeconds(field string, value any, depth int) (result any, changed bool, err error) {
	if depth > maxDepth {
		return value, false, nil
	}
	switch v := value.(type) {
	case time.Time:
		if v.IsZero() {
			return nil, false, invalid(field, "is the zero time")
		}
		return v.Unix(), true, nil
	case *time.Time:
		if v != nil {
			return inSeconds(field, *v, depth)
		}
	case map[string]any:
		copied := v
		for name, value := range v {
			n, inner, err := inSeconds(field+"."+name, value, depth+1)
			if err != nil {
				return nil, false, err
			}
			if inner {
				if !changed {
					copied, changed = maps.Clone(v), true
				}
				copied[name] = n
			}
		}
		return copied, changed, nil
	case []any:
		copied := v
		for i, value := range v {
			n, inner, err := inSeconds(field+"["+strconv.Itoa(i)+"]", value, depth+1)
			if err != nil {
				return nil, false, err
			}
			if inner {
				if !changed {
					copied, changed = slices.Clone(v), true
				}
				copied[i] = n
			}
		}
		return copied, changed, nil
	}
	return value, false, nil
}

// encodeAttribute writes the value of an attribute and checks created_at.
func encodeAttribute(field, name string, value any) ([]byte, error) {
	value, _, err := inSeconds(field, value, 0)
	if err != nil {
		return nil, err
	}
	raw, err := encode(field, value)
	if err == nil && name == createdAt {
		err = checkCreatedAt(field, raw)
	}
	return raw, err
}

// checkCreatedAt requires Unix seconds. The vendor's FAQ says that milliseconds, ISO 8601 and RFC
// 2822 match no rule (https://docs.customer.io/journeys/faq-timestamps). null and "" remove the
// attribute.
func checkCreatedAt(field string, raw []byte) error {
	if string(raw) == "null" || string(raw) == `""` {
		return nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case raw[0] == '"':
		return invalid(field, "must be Unix seconds as a number or a time.Time, and is text of %d bytes", len(raw)-2)
	case err != nil:
		return invalid(field, "must be Unix seconds as a number or a time.Time")
	case f >= maxTimestamp:
		return invalid(field, "must be Unix seconds, and looks like milliseconds")
	case f == float64(time.Time{}.Unix()):
		return invalid(field, "is the zero time")
	}
	return nil
}

// encode writes JSON without the escapes that only HTML needs. Text that is not UTF-8 is
// ErrInvalid: encoding/json would write U+FFFD in its place, and leave a json.RawMessage broken.
func encode(field string, v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, invalid(field, "cannot be written as JSON: %s", unencodable(err))
	}
	raw := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	// A U+FFFD of the caller's is written as it is, one that replaces bytes as an escape.
	if !utf8.Valid(raw) || bytes.Contains(raw, []byte(`\ufffd`)) && garbled(reflect.ValueOf(v), 0) {
		return nil, notUTF8(field, v)
	}
	return raw, nil
}

// notUTF8 names the field that holds text which is not UTF-8.
func notUTF8(field string, v any) error {
	fields, _ := v.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !utf8.ValidString(name) {
			return invalid(field, "have a name of %d bytes that is not UTF-8", len(name))
		}
		if _, err := encode(field+"."+name, fields[name]); err != nil {
			return err
		}
	}
	return invalid(field, "holds text that is not UTF-8")
}

// garbled reports whether text that encoding/json would write is not UTF-8. What a json.Marshaler
// writes is judged after it has written.
func garbled(v reflect.Value, depth int) bool {
	kind := v.Kind()
	switch {
	case kind == reflect.Interface:
		return garbled(v.Elem(), depth)
	case kind == reflect.Invalid, kind == reflect.Pointer && v.IsNil(), depth > maxDepth:
		return false
	}
	switch m := v.Interface().(type) {
	case json.Marshaler:
		return false
	case encoding.TextMarshaler:
		text, err := m.MarshalText()
		return err == nil && !utf8.Valid(text)
	}
	switch kind {
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Pointer:
		return garbled(v.Elem(), depth+1)
	case reflect.Map:
		for k, e := range v.Seq2() {
			if garbled(k, depth+1) || garbled(e, depth+1) {
				return true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if garbled(v.Index(i), depth+1) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" && garbled(v.Field(i), depth+1) {
				return true
			}
		}
	}
	return false
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
