// Package sender delivers queued items, and defines what a queue and a limiter must do for it.
//
// A [Sender] drains a [Queue] into a [Transport]: it claims what is due, paces requests by a
// [Limiter], turns each answer into a [Verdict], and has the queue record it. The queue keeps the
// items; the sender keeps nothing that a restart would miss.
//
// Delivery is at least once: an item leaves the queue only after the outcome of its request has
// been recorded. A crash between request and record sends the item again, under the same ID. With
// Options.AtMostOnce delivery is at most once.
//
//	s, err := sender.New(queue, sender.TransportFunc(post), nil, nil)
//	if err != nil {
//		return err
//	}
//	err = s.Run(ctx) // until ctx ends
//
// What the transport returns decides what happens next; see [Permanent], [Later], [Throttled],
// [NotAccepted], [Unavailable], [Split] and [MinWait]. Any other error is a failure that is tried
// again.
//
// # Caveats
//
// A transport must honour its context: a call that ignores it keeps one of the Concurrency slots,
// and its key, until it returns. Concurrency must be at least the rate times the latency of a
// request: 80 requests a second at 300 ms need 24 in flight.
package sender

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// An Item is a queued event with its delivery state. Transports read it and must not modify what
// its slices and maps hold.
type Item struct {
	// Seq is the item's place in the queue, which assigns it; it is never used twice. Items of one
	// Key are delivered in its order.
	Seq uint64
	// ID is the same on every attempt, so that the receiver can tell a repetition.
	ID uuid.UUID
	// Kind is the type of the event; transports route on it.
	Kind string
	// Key orders: items of one key are delivered one at a time, in the order of Seq. Empty: no
	// order.
	Key string
	// Header holds small values for the transport: a content type, a trace context. May be nil.
	Header map[string]string
	// Payload is exactly what was put, byte for byte. May be empty.
	Payload []byte
	// Created is when the event was put, by the wall clock.
	Created time.Time
	// Due is the moment before which the item is not sent; zero: it may go at any time.
	Due time.Time
	// Expires is the moment after which the item is no longer sent; zero: never.
	Expires time.Time
	// Attempts counts the failures that were charged to the item. At Options.MaxAttempts it is
	// dead.
	Attempts int
	// Failures counts all failed attempts, charged or not; the backoff grows with it.
	Failures int
	// FailedAt is when the item last failed; zero: never.
	FailedAt time.Time
	// LastErr is why the item last had to wait or became dead, cut to 1 KiB; "": neither happened.
	LastErr string
	// History is the last eight failures, oldest first; nil if it never failed.
	History []Failure
}

// A Failure is one failed attempt of an item.
type Failure struct {
	At     time.Time
	Reason string // cut to 1 KiB
}

// A Transport carries one item to its destination. Send must be safe for concurrent use, and return
// soon after ctx has ended. nil means that the destination accepted the item. An error may have a
// mark: [Permanent], [Later], [Throttled], [NotAccepted] or [Unavailable]; see also [MinWait]. A
// transport may also be a [Prober] and an [IdleCloser]. A panic is recovered and counts as a
// failure; the first one is logged with its stack.
type Transport interface {
	Send(ctx context.Context, it Item) error
}

// TransportFunc makes a function a [Transport].
type TransportFunc func(ctx context.Context, it Item) error

// Send calls f.
func (f TransportFunc) Send(ctx context.Context, it Item) error { return f(ctx, it) }

// A BatchTransport is a [Transport] that can carry several items in one request. The sender finds
// it by type assertion, and then sends through SendBatch alone.
type BatchTransport interface {
	Transport
	// BatchLimit returns how many items, and how many bytes of their payloads, one request may
	// carry. It is called once. Items below 1 mean 1; bytes below 1 mean no limit. A single item
	// always fits.
	BatchLimit() (items, bytes int)
	// SendBatch sends all items in one request, for one token of the limiter. It returns one error
	// or nil for each item, in their order. Any other number of results is a failure of all items.
	// No two items have the same Key. [Split], for any of them, means that the request was refused
	// as a whole.
	SendBatch(ctx context.Context, items []Item) []error
}

// A Verdict is what became of an item in one attempt.
type Verdict int

const (
	// Released: nothing happened to the item. It may be claimed again, before the items behind it.
	Released Verdict = iota
	// Delivered: the destination accepted it. The item is gone.
	Delivered
	// Retry: it failed and comes again at Outcome.Due.
	Retry
	// Dead: it is kept among the dead with its reason until its owner revives or drops it.
	Dead
	// Expired: its Expires had passed before it could be sent. The item is gone, and counted.
	Expired
	// Sending: it is about to be sent, for Options.AtMostOnce. It is recorded among the dead, with
	// LastErr as the reason and FailedAt as the time, but it is still held: a later outcome of the
	// same claim takes the record back. A crash leaves it there.
	Sending
)

// String returns the verdict's name in lower case.
func (v Verdict) String() string {
	switch v {
	case Released:
		return "released"
	case Delivered:
		return "delivered"
	case Retry:
		return "retry"
	case Dead:
		return "dead"
	case Expired:
		return "expired"
	case Sending:
		return "sending"
	}
	return "unknown"
}

// An Outcome tells a [Queue] what became of a claimed item.
type Outcome struct {
	// Item is the item as claimed, with new values of Attempts, Failures, FailedAt and LastErr. Seq
	// and Due are as they were when it was claimed: its place in the queue.
	Item Item
	// Verdict is what the queue records.
	Verdict Verdict
	// Due is the moment before which a Retry does not come again.
	Due time.Time
	// PauseUntil, unless zero, is the moment before which the whole lane starts nothing: the
	// destination ordered that. The queue records it with the outcomes, also if it does not find
	// the item. It can only extend an earlier pause. What a [Prober] was told comes without an
	// item: Item is zero, the Verdict is Released, and OnOutcome does not hear of it.
	PauseUntil time.Time
	// Err is what the transport returned; nil when Delivered.
	Err error
	// Request numbers the requests of a sender from 1; the items of one batch share it. 0: the item
	// was not sent.
	Request uint64
	// Started is when the request was handed to the transport, and Took how long it ran. Zero: the
	// item was not sent. A [Queue] does not record these three.
	Started time.Time
	Took    time.Duration
}

// A Queue keeps items for a [Sender]. Exactly one sender drains a queue. All methods are safe for
// concurrent use. The suite in package sendertest tests whether an implementation keeps this
// contract.
type Queue interface {
	// Claim returns up to max due items that are not held, with payloads of up to maxBytes in all
	// (below 1: no limit; the first item always fits). It never returns two items of one Key, and
	// an item only when all earlier items of its Key are settled. The caller holds the items until
	// it settles them.
	//
	// next is when more will be due, as far as is known. If it is not after now, more is due at
	// once, or Claim stopped early and wants to be called again. Zero means that nothing is
	// scheduled. While a kept pause lasts, Claim returns no items, and next is the end of the
	// pause. With max 0 Claim returns next and claims nothing.
	//
	// now is a reading of time.Now: the wall clock decides when a scheduled item is due, the
	// monotonic clock when a retry is.
	Claim(ctx context.Context, now time.Time, max, maxBytes int) (items []Item, next time.Time, err error)

	// Settle records the outcomes durably, all or none, and returns when that is done. It may
	// gather them for a short time, so that several calls share a commit (see [Gatherer]), except
	// when another item waits for the key or an outcome carries a pause. A call without outcomes
	// does nothing.
	//
	// A Released item may be claimed again; nothing else changes. For any other verdict Settle
	// changes the item if it is where it was claimed, and ignores the outcome if it is not: the
	// item was dropped, or this call repeats an earlier one. After an error the items are still
	// held, and the caller repeats the call. When Settle returns, the slice belongs to the caller
	// again.
	//
	// Sending is never gathered. It leaves the item held and its key taken. The next outcome of
	// that claim moves the item from the dead as if it were where it was claimed, without the
	// reason; Released puts it back, durably. This applies only to items recorded as Sending and
	// still held; all other dead items stay dead. After a failed Sending, Released undoes it if it
	// was recorded.
	Settle(ctx context.Context, outcomes ...Outcome) error

	// Paused returns the end of the kept pause, as a reading that compares with time.Now; zero or
	// past: there is none. It never blocks.
	Paused() time.Time
}

// Exclusive is a [Queue] that refuses a second sender, and that wakes its sender. Without it the
// sender claims only when something else happens, or when [Sender.Wake] is called.
type Exclusive interface {
	// Attach reserves the queue for one sender until Detach, or returns an error that says who has
	// it. From then on the queue calls wake after each change that may have made something due.
	// wake does not block, and may be called from any goroutine, also after Detach; nil: there is
	// nothing to wake. Nothing is in flight then: what an earlier sender left is handed out again,
	// and items recorded as Sending are dead.
	Attach(wake func()) error
	// Detach ends the reservation.
	Detach()
}

// A Gatherer is a [Queue] whose Settle may gather: it lets outcomes wait, so that several calls
// share a commit. Without it the sender expects that Settle never waits for other calls.
type Gatherer interface {
	// FlushGathered has the queue commit at once what it has gathered. It does not wait for the
	// commit.
	FlushGathered()
}

// A Marker is a [Queue] that can tell old items from new ones. Without it Flush waits until nothing
// at all is due or in flight. Both methods are safe for concurrent use.
type Marker interface {
	// Mark makes ready the scheduled items whose time has come at now, and then returns the highest
	// Seq assigned so far.
	Mark(ctx context.Context, now time.Time) (uint64, error)
	// Unsent reports whether an item up to mark could be sent now, or is held by the sender. It
	// does not count items that are scheduled or wait for a retry, or items that wait behind one of
	// these.
	Unsent(ctx context.Context, now time.Time, mark uint64) (bool, error)
}

// A Limiter decides when a request may start. It is safe for concurrent use and may serve several
// senders. Package limiter has the usual one.
type Limiter interface {
	// Wait returns nil when one request may start at once, or the reason why none may: an error of
	// ctx, or one of the limiter's own, after which the sender asks again with backoff.
	Wait(ctx context.Context) error
	// Pause makes Wait grant nothing before until, and no burst then. A later call can only extend.
	Pause(until time.Time)
	// Slow lowers the rate: the destination said that it was too high.
	Slow()
	// Rate returns the rate now allowed, in requests per second; 0: no limit.
	Rate() float64
}
