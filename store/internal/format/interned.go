package format

import (
	"maps"
	"sync/atomic"
)

// Interned holds the first maxInterned strings that it was asked for. A lane has few kinds, so most
// records share the string of their kind instead of allocating a copy. The zero value is empty. It
// is safe for concurrent use.
type Interned struct {
	known atomic.Pointer[map[string]string] // a map is replaced, never changed; nil: none
}

const maxInterned = 64

// Of returns string(b), without an allocation when the string is known. When two calls add a string
// at the same time, one of them may be forgotten, and is added again by a later call.
func (n *Interned) Of(b []byte) string {
	var known map[string]string
	if m := n.known.Load(); m != nil {
		known = *m
	}
	s, ok := known[string(b)]
	if !ok {
		s = string(b)
		if len(known) < maxInterned {
			more := map[string]string{s: s}
			maps.Copy(more, known)
			n.known.Store(&more)
		}
	}
	return s
}
