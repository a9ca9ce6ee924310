package sender

import (
	"errors"
	"time"
)

// A mark on an error says what it means for the item and for the lane.
type mark int

const (
	plain mark = iota // no mark: a failure, tried again
	permanent
	later
	throttled
	unavailable
	split
)

var markNames = [...]string{"failed", "permanent", "later", "throttled", "unavailable", "split"}

// marked is an error with a mark. The text is that of the error it wraps.
type marked struct {
	mark  mark
	err   error
	after time.Duration // later, throttled: how long to wait; not above zero: the destination did not say
}

func (m *marked) Error() string { return m.err.Error() }
func (m *marked) Unwrap() error { return m.err }

// read returns the outermost mark on err, and its wait.
func read(err error) (mark, time.Duration) {
	var m *marked
	if errors.As(err, &m) {
		return m.mark, m.after
	}
	return plain, 0
}

// set puts a mark on err. A mark without an error still means what it says: taking it for success
// would lose the item.
func set(m mark, err error, after time.Duration) error {
	if err == nil {
		err = errors.New("sender: " + markNames[m])
	}
	return &marked{mark: m, err: err, after: after}
}

// Permanent marks an error that no further attempt would mend: the item is dead. Permanent(nil) is
// nil. Marks nest, and the outermost wins.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return set(permanent, err, 0)
}

// Later asks for this item alone to come again no sooner than d from now; d below zero means now.
// No attempt is charged. A nil err is replaced by one that says so.
func Later(err error, d time.Duration) error { return set(later, err, max(d, 0)) }

// Throttled says that the destination wants fewer requests, as an HTTP 429 does: the lane starts
// none for retryAfter, which is kept across restarts (RFC 9110 section 10.2.3), and goes on at half
// the rate. The item is not touched, unless it was what tested whether the pause is over, or was
// throttled before while others succeeded: then it makes room for them, uncharged, until its own
// backoff after the pause. A retryAfter of zero or less means that the destination did
// not say how long: the lane's own backoff decides. Above 24 hours it is cut to that and logged. A
// nil err is replaced by one that says so.
func Throttled(err error, retryAfter time.Duration) error { return set(throttled, err, retryAfter) }

// Unavailable says that the destination is at fault, not the item: credentials refused, a name that
// does not resolve, a connection refused. The lane holds and probes with one request at a time. The
// item is not touched, unless it had failed before while others succeeded. A nil err is replaced by
// one that says so.
func Unavailable(err error) error { return set(unavailable, err, 0) }

// Split, from [BatchTransport].SendBatch, says that the request was refused as a whole: its items go
// again in requests at most half as large, each for its own token, and nothing is charged. On a
// single item it means [Permanent]. A nil err is replaced by one that says so.
func Split(err error) error { return set(split, err, 0) }
