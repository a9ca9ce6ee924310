package sender

import "time"

// An Explanation says what keeps an item from being sent now. It is a snapshot: the lane goes on.
type Explanation struct {
	Item Listed
	// Reasons are what holds the item, in the order in which they give way: first those with a
	// time, the earliest first. None: it is next, under the limit.
	Reasons []Reason
	// Ahead is at most how many items go before it.
	Ahead int
	// About is when it may go at the present pace, one item a request; zero: nobody can tell.
	About time.Time
}

// A Reason is one thing that holds an item.
type Reason struct {
	Code  ReasonCode `json:"code"`
	Until time.Time  `json:"until,omitzero"` // when it gives way, or is looked at again; zero: not known
	Text  string     `json:"text"`           // a sentence for people
	Cause string     `json:"cause,omitzero"` // the error behind it; "": there is none
	Head  *Item      `json:"-"`              // of ReasonInLine: the first item of its key; nil: not known
}

// A ReasonCode names a [Reason] to programs.
type ReasonCode string

// The codes. The last three, and ReasonInFlight, stand alone.
const (
	ReasonScheduled ReasonCode = "scheduled" // its NotBefore has not come
	ReasonRetrying  ReasonCode = "retrying"  // it failed, and waits for its next try; without Until it is due
	ReasonThrottled ReasonCode = "throttled" // the destination asked for a pause
	ReasonHeld      ReasonCode = "held"      // something is broken
	ReasonPaused    ReasonCode = "paused"    // the operator paused the lane
	ReasonStoring   ReasonCode = "storing"   // the lane has no transport
	ReasonClosed    ReasonCode = "closed"    // the outbox is shut down
	ReasonInLine    ReasonCode = "in-line"   // an earlier item of its key goes first
	ReasonBehind    ReasonCode = "behind"    // items of other keys go first
	ReasonInFlight  ReasonCode = "in-flight" // it is being sent
	ReasonDead      ReasonCode = "dead"      // it failed for good
	ReasonDamaged   ReasonCode = "damaged"   // its record cannot be read
	ReasonExpired   ReasonCode = "expired"   // it is too late to send it
)
