package sender

// A State is where an item is in its life.
type State string

// The states of an item that is stored. The first five are pending.
const (
	StateReady     State = "ready"     // may be sent now, or after the items before it
	StateInLine    State = "in-line"   // waits behind an earlier item of its key
	StateInFlight  State = "in-flight" // handed out and not settled
	StateRetrying  State = "retrying"  // failed, and waits for its next try
	StateScheduled State = "scheduled" // its time has not come
	StateDead      State = "dead"      // given up
)

// A Cursor is a place in a listing, as text that is fit for a URL. "" is the beginning. It stays
// valid whatever becomes of the items. It belongs to one state and one direction.
type Cursor string

// A Query asks for one page of a listing, in the order of the lane.
type Query struct {
	// State is what is listed. StateReady includes the items that are in line or in flight, each
	// labelled; StateInLine and StateInFlight ask for these alone. "" is an error.
	State State
	// After is the Next of an earlier page of the same State and direction; "": from the beginning.
	After Cursor
	// Newest lists from the end.
	Newest bool
	// Limit is how many items a page has at most; 0 means 50, and 1000 is the most.
	Limit int
	// Scan is how many records the query may look at; 0 means 10,000.
	Scan int
	// Match selects items; nil: all. It is called without a lock, and must not change the item. An
	// item that cannot be read is always listed.
	Match func(*Item) bool
}

// A Page is what a [Query] found.
type Page struct {
	Items  []Listed
	Next   Cursor // where to go on; "": the end was reached
	Looked int    // how many records were looked at
}

// Listed is an item in a listing.
type Listed struct {
	Item
	State State
	Err   error // why the record cannot be read; then only Seq and ID are set, and the item can be dropped. nil: it was read
}

// A Wait says what an item waits for, as far as its store knows.
type Wait struct {
	Listed
	// Head is the item that the key waits for: the first of its key. nil unless State is
	// StateInLine.
	Head *Item
	// Behind is how many earlier items of its key go before it, Head included. 0 unless State is
	// StateInLine.
	Behind int
	// Ahead is at most how many of the items that are there now, and not in flight, are sent before
	// this one, the items of other keys included.
	Ahead int
}
