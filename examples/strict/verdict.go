package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The limit that the receiver keeps, as strictly as the vendor: at most so many requests in any
// rolling second, refused ones included.
const (
	limitRequests = 100
	limitWindow   = time.Second
)

// A record is all that the receiver knows of what reached it. It judges the sender by this alone,
// and reads no clock. Memory grows with the number of distinct events: it is made for a trial.
type record struct {
	window  []time.Time            // arrivals of the last rolling second, oldest first
	fullest int                    // the most that window has held
	events  map[uuid.UUID]struct{} // accepted at least once
	last    map[string]uint64      // by key: the highest place in the queue accepted so far

	requests   int       // all that arrived
	first, now time.Time // the first arrival and the latest
	refused    int       // answered 429: beyond the limit
	failed     int       // answered 503

	received   int // requests accepted, repetitions included
	violations int // events that came first after a later one of their key
}

func newRecord() *record {
	return &record{events: map[uuid.UUID]struct{}{}, last: map[string]uint64{}}
}

// arrive counts a request that reached the receiver at now, and tells whether it is within the
// limit. now must not go back from call to call.
func (r *record) arrive(now time.Time) bool {
	gone := 0
	for gone < len(r.window) && now.Sub(r.window[gone]) >= limitWindow {
		gone++
	}
	r.window = append(r.window[gone:], now)
	r.fullest = max(r.fullest, len(r.window))
	if r.requests == 0 {
		r.first = now
	}
	r.requests, r.now = r.requests+1, now
	within := len(r.window) <= limitRequests
	if !within {
		r.refused++
	}
	return within
}

// accept records an event that is about to be answered with success. Order is judged by the first
// arrival of each event: a repetition is what at least once allows, at any time. Events without a
// key have no order.
func (r *record) accept(id uuid.UUID, key string, seq uint64) {
	r.received++
	if _, again := r.events[id]; again {
		return
	}
	r.events[id] = struct{}{}
	if key == "" {
		return
	}
	if seq < r.last[key] {
		r.violations++
	}
	r.last[key] = max(r.last[key], seq)
}

func (r *record) verdict() verdict {
	return verdict{
		Received:        r.received,
		Unique:          len(r.events),
		Duplicates:      r.received - len(r.events),
		OrderViolations: r.violations,
		FullestSecond:   r.fullest,
		Refused:         r.refused,
		Failed:          r.failed,
		Rate:            r.rate(),
	}
}

// rate is how many requests came a second, from the first to the latest; 0: fewer than two came, or
// all at once.
func (r *record) rate() float64 {
	took := r.now.Sub(r.first).Seconds()
	if took == 0 {
		return 0
	}
	return float64(r.requests-1) / took
}

// A verdict is what the receiver's record comes to.
type verdict struct {
	Received        int `json:"received"`         // requests answered with success
	Unique          int `json:"unique"`           // distinct events among them
	Duplicates      int `json:"duplicates"`       // the rest: repetitions
	OrderViolations int `json:"order_violations"` // events that came after a later one of their key
	FullestSecond   int `json:"fullest_second"`   // most requests in any rolling second, refused ones included
	Refused         int `json:"answered_429"`     // requests beyond the limit
	Failed          int `json:"answered_503"`     // requests that failed on purpose

	Rate float64 `json:"rate"` // requests a second, measured from the first arrival to the latest
}

func (v verdict) String() string {
	return fmt.Sprintf("received=%d unique=%d duplicates=%d order_violations=%d fullest_second=%d answered_429=%d answered_503=%d rate=%.1f",
		v.Received, v.Unique, v.Duplicates, v.OrderViolations, v.FullestSecond, v.Refused, v.Failed, v.Rate)
}

// manners returns an error that names each promise about order and rate that the sender broke.
func (v verdict) manners() error {
	var broken []string
	if v.OrderViolations > 0 {
		broken = append(broken, fmt.Sprintf("%d events came after a later one of their key", v.OrderViolations))
	}
	if v.FullestSecond > limitRequests {
		broken = append(broken, fmt.Sprintf("%d requests came in one second, %d are allowed", v.FullestSecond, limitRequests))
	}
	if broken == nil {
		return nil
	}
	return fmt.Errorf("strict: %s", strings.Join(broken, "; "))
}

// complete returns an error unless exactly the expected number of distinct events was received.
func (v verdict) complete(expected uint64) error {
	if uint64(v.Unique) == expected {
		return nil
	}
	return fmt.Errorf("strict: %d distinct events were received, %d expected", v.Unique, expected)
}
