package sender

import "time"

// A LaneState says in one word how a lane is.
type LaneState string

// The states of a lane. When several apply it is the one that comes first here, except that a lane
// that storage holds is held and not paused.
const (
	LaneClosed    LaneState = "closed"    // it is shutting down, or has ended
	LanePaused    LaneState = "paused"    // its operator ordered that nothing is sent
	LaneHeld      LaneState = "held"      // something is broken: see Stats.Held
	LaneThrottled LaneState = "throttled" // the destination ordered that nothing is sent
	LaneStoring   LaneState = "storing"   // it has no transport
	LaneSending   LaneState = "sending"   // items are in flight, or go as soon as the limit allows
	LaneWaiting   LaneState = "waiting"   // items are pending, and none is due
	LaneIdle      LaneState = "idle"      // nothing is pending
)

// Stats is a snapshot of a lane: of its store, its sender and its limiter. In JSON a time or a text
// that is zero is left out.
type Stats struct {
	State LaneState `json:"state"`

	// Pending counts the events not delivered, dead, expired or dropped. The next five add up to
	// it, except that an event dropped while in line or in flight stays there for a while.
	Pending   int   `json:"pending"`
	Ready     int   `json:"ready"`      // could be sent now
	Scheduled int   `json:"scheduled"`  // NotBefore has not come
	Retrying  int   `json:"retrying"`   // failed, waiting for the next try
	InLine    int   `json:"in_line"`    // waiting behind an earlier event of their key
	InFlight  int   `json:"in_flight"`  // handed to the transport, or its answer not yet recorded
	Dead      int   `json:"dead"`       // failed for good; not yet what is in flight to be sent at most once
	Abandoned int   `json:"abandoned"`  // calls into a transport that ignores its context
	Bytes     int64 `json:"bytes"`      // of pending payloads
	DeadBytes int64 `json:"dead_bytes"` // of payloads stored as dead, in flight or not
	FileBytes int64 `json:"file_bytes"` // of the file, with all its lanes; 0: the store does not tell

	Oldest        time.Time `json:"oldest,omitzero"`         // no pending event that is not scheduled was put before; zero: there is none
	OldestReady   time.Time `json:"oldest_ready,omitzero"`   // the same without those that have failed and wait for their next try
	OperatorPause Pause     `json:"operator_pause,omitzero"` // in force by order of the operator; zero: none
	PausedUntil   time.Time `json:"paused_until,omitzero"`   // end of the pause that the destination asked for; zero: no pause
	Held          string    `json:"held,omitzero"`           // why nothing is sent (destination unavailable, disk failed); "": nothing is in the way
	HeldBy        string    `json:"held_by,omitzero"`        // what is broken: HeldByDestination, HeldByStorage, HeldByLimiter, HeldByTransport; "" when Held is ""
	HeldErr       error     `json:"-"`                       // the error behind Held, for errors.As; nil: there is none
	HeldSince     time.Time `json:"held_since,omitzero"`     // zero unless the sender holds the lane
	Probe         time.Time `json:"probe,omitzero"`          // when the held destination is tried next; zero: not known
	Failed        string    `json:"failed,omitzero"`         // why the store cannot record or read (a failed disk, damage); "": it can
	Fallback      string    `json:"fallback,omitzero"`       // why the file was opened as of the commit before its newest one; "": it was not

	Rate        float64 `json:"rate"`                   // requests per second now allowed; below Limit after a 429; 0: no limit
	Limit       float64 `json:"limit"`                  // requests per second as set; 0: no limit, or the limiter does not tell
	LimiterMode string  `json:"limiter_mode,omitempty"` // how the limiter works now, in its own words; "": it does not tell
	Concurrency int     `json:"concurrency"`            // how many requests may be in flight; 0: no transport
	Requests    uint64  `json:"requests"`               // started since the lane was opened

	Put       uint64 `json:"put"` // since the file was made: the sum of Pending, Dead and these three
	Delivered uint64 `json:"delivered"`
	Expired   uint64 `json:"expired"`
	Dropped   uint64 `json:"dropped"`
}
