// Package manners counts how well clients keep to a rate limit and to a Retry-After. The servers
// that stand in for a vendor in tests share it.
package manners

import "time"

// A window counts arrivals in the last rolling span of time: what came exactly one width ago has
// left.
type window struct {
	width   time.Duration
	at      []time.Time // oldest first
	fullest int         // the most it has held
}

// arrive counts an arrival at now, which must not go back, and returns how many the window holds.
func (w *window) arrive(now time.Time) int {
	gone := 0
	for gone < len(w.at) && now.Sub(w.at[gone]) >= w.width {
		gone++
	}
	w.at = append(w.at[gone:], now)
	w.fullest = max(w.fullest, len(w.at))
	return len(w.at)
}

// room returns when one more arrival makes no more than limit, if none comes before.
func (w *window) room(limit int) time.Time {
	if limit < 1 || len(w.at) < limit {
		return time.Time{}
	}
	return w.at[len(w.at)-limit].Add(w.width)
}

// Traffic is what is known of the arrivals at one API. Its owner guards it by a mutex.
type Traffic struct {
	limit  int    // below 1: none
	window window // as wide as the limit says
	second window // of one second, for comparison between APIs
	told   []telling

	Requests  int // that arrived
	Throttled int // were beyond the limit, and refused for that; counted by the owner
	Early     int // arrived before a told Retry-After had passed
}

// A telling is a Retry-After that was sent: nothing should arrive from the one moment to the other.
type telling struct{ from, until time.Time }

// NewTraffic returns the traffic at an API that takes limit requests in any rolling window. A limit
// below 1 is none.
func NewTraffic(limit int, width time.Duration) *Traffic {
	return &Traffic{limit: limit, window: window{width: width}, second: window{width: time.Second}}
}

// Fullest returns the most requests in any window, and in any second.
func (t *Traffic) Fullest() (window, second int) { return t.window.fullest, t.second.fullest }

// Arrive counts a request that arrived at now, which must not go back, and tells whether it is
// within the limit, or else when there will be room. Requests that were on their way for no longer
// than grace when a Retry-After was told are no sign of disobedience.
func (t *Traffic) Arrive(now time.Time, grace time.Duration) (within bool, room time.Time) {
	t.Requests++
	t.second.arrive(now)
	held := t.window.arrive(now)

	kept := t.told[:0]
	early := false
	for _, told := range t.told {
		if now.Before(told.until) {
			kept = append(kept, told)
			early = early || !now.Before(told.from.Add(grace))
		}
	}
	t.told = kept
	if early {
		t.Early++
	}
	if t.limit < 1 || held <= t.limit {
		return true, time.Time{}
	}
	return false, t.window.room(t.limit)
}

// Tell notes that a Retry-After was sent at now. One that ends no later than another adds nothing:
// that one began before.
func (t *Traffic) Tell(now, until time.Time) {
	for _, told := range t.told {
		if !until.After(told.until) {
			return
		}
	}
	t.told = append(t.told, telling{now, until})
}
