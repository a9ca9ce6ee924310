package customeriotest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"
)

// An Accepted is an operation in the record.
type Accepted struct {
	Operation
	At        time.Time         // when its request arrived
	Request   int               // number of its request among all that arrived, from 1
	Index     int               // place in its batch, from 0; 0 outside batches
	Hash      [sha256.Size]byte // of Body
	Duplicate bool              // stands for the same as an earlier one: see Options.Marker
}

// record is what was accepted, and what is needed to judge it. Guarded by Server.mu.
type record struct {
	list       []Accepted // in order of acceptance; stays empty under CountOnly
	operations int
	known      map[identity]struct{}
	last       map[string]int64          // by subject: the highest place in its sequence so far
	people     map[string]map[string]any // by subject: the attributes of the last identify

	orderViolations int
}

// identity is a digest of what an operation stands for.
type identity [16]byte

func newRecord() record {
	return record{known: map[identity]struct{}{}, last: map[string]int64{}, people: map[string]map[string]any{}}
}

// accept records the operations of a call, none of another in between. nil stands for one that was
// refused, and keeps its place in the batch.
func (s *Server) accept(c *call, ops ...*Operation) {
	type judged struct {
		identity identity
		hash     [sha256.Size]byte
		n        int64
		ordered  bool
	}
	js := make([]judged, len(ops))
	for i, op := range ops { // before locking: these call functions of the user
		if op == nil {
			continue
		}
		j := &js[i]
		j.hash = sha256.Sum256(op.Body)
		j.identity = s.identify(*op, j.hash)
		if s.o.Sequence != nil && op.Subject != "" {
			j.n, j.ordered = s.o.Sequence(*op)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range ops {
		if op == nil {
			continue
		}
		duplicate := s.record.add(*op, js[i].identity, js[i].n, js[i].ordered)
		if !s.o.CountOnly {
			s.record.list = append(s.record.list, Accepted{*op, c.at, c.number, i, js[i].hash, duplicate})
		}
	}
}

// identify returns what the operation stands for: its event id, else its marker, else its content.
func (s *Server) identify(op Operation, hash [sha256.Size]byte) identity {
	var text string
	if op.isEvent() && isULID(op.EventID) {
		text = "event " + op.EventID
	} else if m := s.marker(op); m != "" {
		text = "marker " + m
	} else {
		text = fmt.Sprintf("content %q %q %q %q %x", op.Type, op.Action, op.Subject, op.Name, hash)
	}
	sum := sha256.Sum256([]byte(text))
	return identity(sum[:16])
}

func (s *Server) marker(op Operation) string {
	if s.o.Marker == nil {
		return ""
	}
	return s.o.Marker(op)
}

// add judges an operation, n being its place in the sequence of its subject if it has one. Order is
// judged by the first acceptance: a repetition is what at least once allows, at any time.
func (r *record) add(op Operation, id identity, n int64, ordered bool) (duplicate bool) {
	r.operations++
	if op.Type == "person" {
		switch op.Action {
		case "identify":
			if r.people[op.Subject] = op.Attributes; op.Attributes == nil {
				r.people[op.Subject] = map[string]any{}
			}
		case "delete":
			delete(r.people, op.Subject)
		}
	}
	if _, duplicate = r.known[id]; duplicate {
		return true
	}
	r.known[id] = struct{}{}
	if ordered {
		last, any := r.last[op.Subject]
		if any && n < last {
			r.orderViolations++
		}
		if !any || n > last {
			r.last[op.Subject] = n
		}
	}
	return false
}

// Record returns every operation accepted so far, in order of acceptance: requests as they were
// handled, operations of a batch as they stood in it. Its maps and slices must not be modified.
// Empty under Options.CountOnly.
func (s *Server) Record() []Accepted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.record.list)
}

// Attributes returns the attributes that came with the last identify accepted for the person, by
// the identifier that it named; nil if there was none, or a delete after it. They are not merged
// with those of earlier ones.
func (s *Server) Attributes(person string) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.record.people[person])
}
