package outboxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Want describes an event. Fields that are zero are not compared.
type Want struct {
	Kind, Key string
	// Payload is compared byte for byte if it is a []byte or a string, so "" wants an empty one.
	// Anything else is written as JSON, and compared with the payload as a value: the order of
	// fields and the white space do not matter, 1 and 1.0 are equal.
	Payload any
	// Header holds what the header must have; it may have more.
	Header    map[string]string
	NotBefore time.Time
	// Where decides what the fields cannot say. It is called last, and must not change the item.
	Where func(sender.Item) bool
}

// differs returns how an item differs; "": it does not. It never shows a payload.
func (w Want) differs(it sender.Item) string {
	if w.Kind != "" && it.Kind != w.Kind {
		return fmt.Sprintf("its kind is %q", it.Kind)
	}
	if w.Key != "" && it.Key != w.Key {
		return fmt.Sprintf("its key is %q", it.Key)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Header)) {
		if value, ok := it.Header[name]; !ok {
			return fmt.Sprintf("it has no header %q", name)
		} else if value != w.Header[name] {
			return fmt.Sprintf("its header %q differs", name)
		}
	}
	if !w.NotBefore.IsZero() && !it.Due.Equal(w.NotBefore) {
		return fmt.Sprintf("its NotBefore is %s", it.Due.Format(time.RFC3339Nano))
	}
	if d := differs(w.Payload, it.Payload); d != "" {
		return d
	}
	if w.Where != nil && !w.Where(it) {
		return "Where refuses it"
	}
	return ""
}

// String names the fields that are compared, without payload and header values.
func (w Want) String() string {
	var parts []string
	add := func(show bool, format string, args ...any) {
		if show {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(w.Kind != "", "kind %q", w.Kind)
	add(w.Key != "", "key %q", w.Key)
	add(w.Header != nil, "header %q", slices.Sorted(maps.Keys(w.Header)))
	add(!w.NotBefore.IsZero(), "NotBefore %s", w.NotBefore.Format(time.RFC3339Nano))
	add(w.Payload != nil, "a payload")
	add(w.Where != nil, "Where")
	if parts == nil {
		return "any event"
	}
	return "an event with " + strings.Join(parts, ", ")
}

// differs returns how a payload differs from what is wanted; "": it does not.
func differs(want any, payload []byte) string {
	switch w := want.(type) {
	case nil:
		return ""
	case []byte:
		return differsBytes(w, payload)
	case string:
		return differsBytes([]byte(w), payload)
	}
	text, err := json.Marshal(want)
	if err != nil {
		return fmt.Sprintf("the wanted payload cannot be written as JSON: %v", err)
	}
	w, _ := decode(text)
	got, err := decode(payload)
	if err != nil {
		return fmt.Sprintf("its payload of %d bytes is no JSON", len(payload))
	}
	if path, differ := differsValue("", w, got); differ {
		return strings.TrimSuffix("its payload differs at "+path, " at ")
	}
	return ""
}

func differsBytes(want, got []byte) string {
	if bytes.Equal(want, got) {
		return ""
	}
	n := 0
	for n < min(len(want), len(got)) && want[n] == got[n] {
		n++
	}
	return fmt.Sprintf("its payload has %d bytes where %d are wanted, and differs at byte %d", len(got), len(want), n)
}

func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err = d.Decode(&v); err == nil && d.More() {
		err = fmt.Errorf("more than one value")
	}
	return v, err
}

// differsValue returns where two JSON values first differ, as ".address.lines[2]".
func differsValue(path string, want, got any) (string, bool) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return path, true
		}
		names := maps.Clone(w)
		maps.Copy(names, g)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			a, wanted := w[name]
			b, found := g[name]
			if wanted != found {
				return path + "." + name, true
			}
			if at, differ := differsValue(path+"."+name, a, b); differ {
				return at, true
			}
		}
		return "", false
	case []any:
		g, ok := got.([]any)
		if !ok {
			return path, true
		}
		for i := range max(len(w), len(g)) {
			at := fmt.Sprintf("%s[%d]", path, i)
			if i >= len(w) || i >= len(g) {
				return at, true
			}
			if at, differ := differsValue(at, w[i], g[i]); differ {
				return at, true
			}
		}
		return "", false
	case json.Number:
		g, ok := got.(json.Number)
		return path, !ok || !equalNumbers(w, g)
	}
	return path, !reflect.DeepEqual(want, got)
}

func equalNumbers(a, b json.Number) bool {
	x, ok := new(big.Rat).SetString(string(a))
	y, ok2 := new(big.Rat).SetString(string(b))
	return a == b || ok && ok2 && x.Cmp(y) == 0
}
