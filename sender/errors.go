package sender

import (
	"errors"
	"time"
)

// A Mark on an error says what it means for the item and for the lane. It is named after the
// function that puts it there.
type Mark string

// The marks.
const (
	MarkNone        Mark = "" // no error, or one without a mark: a failure, tried again
	MarkPermanent   Mark = "permanent"
	MarkLater       Mark = "later"
	MarkThrottled   Mark = "throttled"
	MarkUnavailable Mark = "unavailable"
	MarkNotAccepted Mark = "not accepted"
	MarkSplit       Mark = "split"
)

// Classify returns the outermost mark on what a transport returned, and the wait that goes with it:
// the wait of [Later], [Throttled], or [MinWait] where it applies. 0: the destination asked for no
// wait, or for one that is not obeyed because it must be a mistake. The sender decides by the same
// two values. An error that panics when it is looked into has no mark.
func Classify(err error) (mark Mark, wait time.Duration) {
	defer func() {
		if recover() != nil {
			mark, wait = MarkNone, 0
		}
	}()
	mark, wait = asks(err)
	switch {
	case mark == MarkLater:
		return mark, min(wait, longestDelay)
	case wait < 0 || wait > longestPause:
		return mark, 0
	}
	return mark, wait
}

// asks is Classify with the wait as it was asked for.
func asks(err error) (Mark, time.Duration) {
	if err == nil {
		return MarkNone, 0 // most answers; errors.As would allocate
	}
	m := MarkNone
	var outermost *marked
	if errors.As(err, &outermost) {
		m = outermost.mark
	}
	switch m {
	case MarkLater, MarkThrottled:
		return m, outermost.after
	case MarkPermanent, MarkSplit:
		return m, 0
	}
	var w *waiting
	if errors.As(err, &w) {
		return m, w.wait
	}
	return m, 0
}

// marked is an error with a mark. Its text is the text of the error it wraps.
type marked struct {
	mark  Mark
	err   error
	after time.Duration // later, throttled: how long to wait; not above zero: the destination did not say
}

func (m *marked) Error() string { return m.err.Error() }
func (m *marked) Unwrap() error { return m.err }

// withMark puts a mark on err. A mark without an error keeps its meaning: if nil counted as
// success, the item would be lost.
func withMark(m Mark, err error, after time.Duration) error {
	if err == nil {
		err = errors.New("sender: " + string(m))
	}
	return &marked{mark: m, err: err, after: after}
}

// waiting is an error with the least wait of its item. It has no mark of its own.
type waiting struct {
	err  error
	wait time.Duration
}

func (w *waiting) Error() string { return w.err.Error() }
func (w *waiting) Unwrap() error { return w.err }

// Permanent marks an error that no further attempt would fix: the item is dead. Permanent(nil) is
// nil. Marks nest, and the outermost wins.
//
// There is one exception. Five different items in a row, all Permanent with the same status and no
// success between, are the destination's fault: a gateway lost its routes, or a path is mistyped.
// Then the lane holds, and none of the last ones is dead. It probes with one item at a time, at
// most five seconds apart. Once an item succeeds, others that are refused again are dead, at most
// four for each success. So the first refused items of a busy lane wait for their verdict until a
// request that began later succeeds, while an item that is refused alone is dead at once. If all
// items are bad and no good one comes, they wait, and the lane says why, until a person drops them.
// The kind of an item does not matter, and a restart counts from zero, but knows the items that it
// kept. The status of an error is what its method Status() int returns, 0 if it has none.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return withMark(MarkPermanent, err, 0)
}

// Later asks for this item alone to be sent again no sooner than d from now; d below zero means
// now. No attempt is charged. A nil err is replaced by a text.
func Later(err error, d time.Duration) error { return withMark(MarkLater, err, max(d, 0)) }

// Throttled says that the destination wants fewer requests, as an HTTP 429 does (RFC 9110 section
// 10.2.3). The lane starts no request for retryAfter, also after a restart, and then goes on at
// half the rate. A retryAfter of zero or less means that the destination gave no time: the lane
// uses its own backoff. More than 24 hours are a mistake: they are logged, and count as no time.
//
// The item is not touched, with two exceptions: it was the probe, or it was throttled before while
// other items succeeded. Then it waits for its own backoff after the pause, so that other items go
// first. No attempt is charged. A nil err is replaced by a text.
func Throttled(err error, retryAfter time.Duration) error {
	return withMark(MarkThrottled, err, retryAfter)
}

// Unavailable says that the destination is at fault, not the item: credentials refused, a name that
// does not resolve, a connection refused. The lane holds and probes with one request at a time. The
// item is not touched, with two exceptions. A failed probe waits for its own backoff, uncharged. An
// item that failed before, while others succeeded, is charged. A nil err is replaced by a text.
func Unavailable(err error) error { return withMark(MarkUnavailable, err, 0) }

// NotAccepted says that the destination refused the item this time, and that nothing was accepted,
// as an HTTP 503 does (RFC 9110 section 15.6.4). It counts as an error without a mark, with one
// difference: with Options.AtMostOnce the item is not dead, but tried again. A nil err is replaced
// by a text.
func NotAccepted(err error) error { return withMark(MarkNotAccepted, err, 0) }

// MinWait says that the item shall not be tried again before d is over: the destination asked for
// that. What err means does not change, and the backoff of the item stays if it is longer. The
// other items of the lane do not wait. It applies to errors without a mark, [NotAccepted] and
// [Unavailable]; the others say themselves when the item comes again. More than 24 hours are a
// mistake: they are logged, and count as no wait; so does d of zero or less. MinWait(nil, d) is
// nil.
func MinWait(err error, d time.Duration) error {
	if err == nil || d <= 0 {
		return err
	}
	return &waiting{err, d}
}

// Split, from [BatchTransport].SendBatch, says that the request was refused as a whole. Its items
// are sent again in requests at most half as large, each for a token of its own, and nothing is
// charged. When all of them are accepted, the sender sends no more items than that in any request;
// after an hour it tries twice as many. On a single item it means [Permanent]. A nil err is
// replaced by a text.
func Split(err error) error { return withMark(MarkSplit, err, 0) }
