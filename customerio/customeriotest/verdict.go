package customeriotest

import (
	"fmt"
	"maps"
)

// A Verdict is what the record and the arrivals come to.
type Verdict struct {
	Requests         int                `json:"requests"`           // that arrived
	Operations       int                `json:"operations"`         // accepted
	Unique           int                `json:"unique"`             // distinct ones among them; see Options.Marker
	Duplicates       int                `json:"duplicates"`         // the rest: repetitions
	OrderViolations  int                `json:"order_violations"`   // first acceptances that came after one of a later place; see Options.Sequence
	FullestSecond    int                `json:"fullest_second"`     // most requests to one API in any rolling second, refused ones included
	RefusedForRate   int                `json:"refused_for_rate"`   // requests above a limit; those that met a fault are not refused for the rate
	BeforeRetryAfter int                `json:"before_retry_after"` // requests that arrived before a Retry-After told by their API had passed
	Refused          map[string]int     `json:"refused"`            // requests, and items of batches under 207, by status and reason: "401 credentials"
	APIs             map[API]APIVerdict `json:"apis"`
}

// An APIVerdict is the part of one API in a [Verdict].
type APIVerdict struct {
	Requests         int `json:"requests"`
	Fullest          int `json:"fullest"`        // most requests in any rolling window of the API's limit
	FullestSecond    int `json:"fullest_second"` // the same with a window of one second
	RefusedForRate   int `json:"refused_for_rate"`
	BeforeRetryAfter int `json:"before_retry_after"`
}

// Verdict judges what has happened so far.
func (s *Server) Verdict() Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := Verdict{
		Requests:        s.requests,
		Operations:      s.record.operations,
		Unique:          len(s.record.known),
		Duplicates:      s.record.operations - len(s.record.known),
		OrderViolations: s.record.orderViolations,
		Refused:         maps.Clone(s.refused),
		APIs:            map[API]APIVerdict{},
	}
	for api, t := range s.traffic {
		fullest, second := t.Fullest()
		v.APIs[api] = APIVerdict{t.Requests, fullest, second, t.Throttled, t.Early}
		v.FullestSecond = max(v.FullestSecond, second)
		v.RefusedForRate += t.Throttled
		v.BeforeRetryAfter += t.Early
	}
	return v
}

// String returns the verdict in one line.
func (v Verdict) String() string {
	return fmt.Sprintf("operations=%d unique=%d duplicates=%d order_violations=%d fullest_second=%d refused_for_rate=%d before_retry_after=%d",
		v.Operations, v.Unique, v.Duplicates, v.OrderViolations, v.FullestSecond, v.RefusedForRate, v.BeforeRetryAfter)
}
