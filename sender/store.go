package sender

import (
	"errors"
	"time"
)

// Errors that any store of items may return, and that callers branch on. They are wrapped in an
// error with the place and the numbers: see [StoreError].
var (
	// ErrFull: there is no room. The text says what is full and what the limit is. Nothing was
	// stored.
	ErrFull = errors.New("full")
	// ErrTooLarge: an item has a part that the store cannot hold. Nothing was stored.
	ErrTooLarge = errors.New("too large")
	// ErrStorage: the storage failed. Unless the error says that nothing was stored, the outcome is
	// unknown.
	ErrStorage = errors.New("the storage failed")
	// ErrClosed: the store, or the outbox over it, is shutting down or closed. Nothing was stored.
	ErrClosed = errors.New("closed")
	// ErrPending: items remain. The text says how many and why.
	ErrPending = errors.New("events remain")
	// ErrNotFound: there is no item of that ID.
	ErrNotFound = errors.New("no such item")
	// ErrChanged: the item is not what the call expects, because it has moved since, or cannot be
	// read. Nothing was changed.
	ErrChanged = errors.New("the item has changed")
)

// A StoreError says which operation failed, and where. It wraps the cause.
type StoreError struct {
	Op    string // "store: append"
	Place string // the lane and the file: `lane "mail" of /var/lib/app/events.db`; "": not known
	Err   error
}

// Error returns operation, place and cause, in this order.
func (e *StoreError) Error() string {
	if e.Place == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + ": " + e.Place + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *StoreError) Unwrap() error { return e.Err }

// Counts is what a store holds, and what it has held since it was made: a snapshot.
type Counts struct {
	// Pending counts the items that are not delivered, dead, expired or dropped. The next five add
	// up to it, with one exception: InFlight and InLine still count an item that its owner dropped,
	// until the item is settled or Claim meets it.
	Pending   int
	Ready     int // may be sent now, or after the items before them
	Scheduled int // their time has not come
	Retrying  int // failed, and wait for the next try
	InLine    int // wait for an earlier item of their key, as Claim has seen
	InFlight  int // handed out and not settled
	Dead      int // given up. With AtMostOnce, an item that is being sent counts as in flight

	Bytes     int64 // of pending payloads
	DeadBytes int64 // of payloads that are stored as dead, in flight or not

	// Oldest tells the age of the backlog. It is the earliest Created of the items that are pending
	// and not scheduled: ready, in line, retrying, in flight. Of the items that never failed only
	// the first is looked at. A store may give an earlier time, of an item that has left; never a
	// later one. Zero: there are none.
	Oldest time.Time
	// OldestReady is the same for pending items that have not failed: ready, in line, in flight. An
	// item that is tried again and again for days does not count. Zero: there are none.
	OldestReady time.Time
	PausedUntil time.Time // end of the kept pause; zero: none was ever asked for

	// The ledger: Put = Pending + Dead + Delivered + Expired + Dropped.
	Put, Delivered, Expired, Dropped uint64

	// Err is why the store cannot work, or soon cannot; nil: there is no such reason.
	Err error
}
