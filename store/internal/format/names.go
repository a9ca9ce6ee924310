package format

import (
	"maps"
	"sync/atomic"
)

// names holds the kinds met first, of which a lane has few, so that a record that is read does not bring
// another copy of its own. The zero value is empty. Safe for concurrent use.
type Interned struct {
	known atomic.Pointer[map[string]string] // replaced, never changed; nil: none
}

const maxNames = 64

// of is string(b).
func (n *Interned) Of(b []byte) string {
	var known map[string]string
	if m := n.known.Load(); m != nil {
		known = *m
	}
	s, ok := known[string(b)]
	if !ok {
		s = string(b)
		if len(known) < maxNames {
			more := map[string]string{s: s}
			maps.Copy(more, known)
			n.known.Store(&more)
		}
	}
	return s
}
