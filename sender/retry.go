package sender

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jpillora/backoff"
)

const (
	shortestDelay = 10 * time.Millisecond // so that a Backoff of zero does not spin
	longestDelay  = 365 * 24 * time.Hour  // what every queue can store, whatever the clock says
	longestPause  = 24 * time.Hour        // a longer Retry-After is a mistake
	maxErrorText  = 1024                  // bytes of an error kept with an item
)

var defaultBackoff = Exponential(time.Second, time.Minute)

// Exponential returns a curve for [Options].Backoff. It doubles from min (at attempt 1) to max, and
// then adds up to a quarter at random, so that items that failed together do not come back
// together. Jitter only lengthens a wait, also beyond max. A min of zero or less means 1s, a max of
// zero or less 60s, a max below min means min. Both are at most a year. The curve is safe for
// concurrent use.
func Exponential(min, max time.Duration) func(attempt int) time.Duration {
	if min <= 0 {
		min = time.Second
	}
	if max <= 0 {
		max = time.Minute
	}
	if min > longestDelay {
		min = longestDelay
	}
	if max > longestDelay {
		max = longestDelay
	}
	if max < min {
		max = min
	}
	return func(attempt int) time.Duration {
		curve := backoff.Backoff{Min: min, Max: max, Factor: 2}
		d := curve.ForAttempt(float64(attempt) - 1)
		return d + rand.N(d/4+1)
	}
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// asKept returns t as it compares with the times that a queue keeps, which may be of the wall clock
// alone. That clock may have been set since t: then it is the earlier of what the clock showed at t,
// and of what it would have shown if it had been set by then.
func asKept(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	if reset := now.Add(t.Sub(now)); reset.Round(0).Before(t.Round(0)) {
		return reset
	}
	return t
}

// known is what decide knows besides the item and the answer.
type known struct {
	now         time.Time     // of the answer
	started     time.Time     // when this Run began
	lastSuccess time.Time     // of any request of this lane; zero: none yet
	refused     time.Time     // when the item last came back because of the lane; zero: never
	maxAttempts int           // not above zero: no limit
	delay       time.Duration // the backoff of this item, if it failed now
	pause       time.Time     // the end of the pause that a throttled answer orders
	probe       bool          // the request was the probe of a silence
	stopped     bool          // calls had been cut off when the answer came
	atMostOnce  bool          // an item is dead unless the answer says that nothing was accepted
}

// answerUnknown is the reason of an item that is dead because it must not be sent twice.
const answerUnknown = "sent, answer unknown"

// An effect is what an answer says about the lane; the strongest of a batch counts.
type effect int

const (
	noEffect    effect = iota // nothing
	failed                    // the item failed; alone, that says nothing about the others
	failedFirst               // the item failed for the first time in this Run: several such in a row mean the destination
	refusedMany               // the destination refuses whatever it gets
	unreachable               // the destination is at fault
	slowDown                  // the destination wants silence
)

// decide returns what becomes of an item after an attempt that ended in err, and what that means
// for the lane. It is the table of verdicts, a function of its arguments alone.
//
// A failure is charged to the item the first time. Later it is charged only if another request
// succeeded since the item's previous failure: then the destination works, and the item is at
// fault. So no item dies of an outage, however long. With AtMostOnce an item is dead as soon as the
// answer is unknown, whatever the fault.
//
// A refusal for good is dead here. Whether it is decided here is up to loop.refuse: several in a
// row are the destination's fault.
func decide(k known, it Item, err error) (Outcome, effect) {
	if err == nil {
		return Outcome{Item: it, Verdict: Delivered}, noEffect
	}
	o := Outcome{Item: it, Verdict: Released, Err: err}
	m, wait := Classify(err)
	unknown := k.atMostOnce && m == MarkNone
	cancelled := k.stopped && errors.Is(err, context.Canceled)
	if cancelled && !unknown {
		return o, noEffect
	}
	if m != MarkThrottled { // that wait is of the lane
		k.delay = max(k.delay, wait)
	}
	first := it.FailedAt.IsZero()
	blamed := k.blames(it)

	switch m {
	case MarkPermanent, MarkSplit:
		o.fail(k, true)
		o.Verdict, o.Due = Dead, time.Time{}
		return o, noEffect

	case MarkLater:
		// This says nothing about fault: Failures and FailedAt stay as they are.
		o.Verdict = Retry
		o.Due = k.now.Add(wait)
		o.Item.LastErr = errorText(err)
		return o, noEffect

	case MarkThrottled:
		o.PauseUntil = k.pause
		if k.probe || blamed {
			// The item waits for a while after the pause. Otherwise it would cause the next pause
			// at once, and the other items would hardly move.
			o.fail(k, false)
			o.Due = o.Due.Add(max(k.pause.Sub(k.now), 0))
		}
		return o, slowDown

	case MarkUnavailable:
		switch {
		case blamed:
			o.fail(k, true)
			return o, failed
		case k.probe, wait > 0: // the next probe shall be another item
			o.fail(k, false)
		}
		return o, unreachable

	default:
		o.fail(k, first || blamed || unknown)
		if unknown {
			o.Verdict, o.Due = Dead, time.Time{}
			o.Item.LastErr = truncate(answerUnknown + ": " + errorText(err))
		}
		switch {
		case cancelled:
			return o, noEffect
		case !it.FailedAt.After(k.started), unknown: // what is unknown is dead, so it is the only time
			return o, failedFirst
		}
		return o, failed
	}
}

// blames reports whether others succeeded since the item last failed or came back.
func (k *known) blames(it Item) bool {
	return k.after(k.lastSuccess, cmp.Or(k.refused, it.FailedAt)) // it came back after it failed
}

// after reports whether a success came after a failure; the zero time of either: there was none. A
// failure that lies ahead of the clock happened before the clock was set back.
func (k *known) after(success, failure time.Time) bool {
	return !success.IsZero() && !failure.IsZero() && (success.After(failure) || failure.After(k.now))
}

// refusal reports whether err refuses an item for good.
func (k *known) refusal(err error) bool {
	m, _ := Classify(err)
	return (m == MarkPermanent || m == MarkSplit) && !(k.stopped && errors.Is(err, context.Canceled))
}

// fail records a failed attempt: the item comes again after its delay, or is dead if this attempt
// was charged and was the last one.
func (o *Outcome) fail(k known, charged bool) {
	o.Verdict = Retry
	o.Due = k.now.Add(min(max(k.delay, shortestDelay), longestDelay))
	o.Item.Failures++
	o.Item.FailedAt = k.now
	o.Item.LastErr = errorText(o.Err)
	if !charged {
		return
	}
	o.Item.Attempts++
	if k.maxAttempts > 0 && o.Item.Attempts >= k.maxAttempts {
		o.Verdict, o.Due = Dead, time.Time{}
	}
}

// errorText is what an item keeps of an error. An error that was readable once may still panic the
// next time.
func errorText(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("sender: an error of type %T that panics when it is read", err)
		}
	}()
	return truncate(err.Error())
}

// truncate shortens a reason to 1 KiB, between two characters.
func truncate(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	end := maxErrorText
	for end > maxErrorText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.Clone(s[:end])
}

// readable returns err, or an error that replaces it if the methods of err panic, as the methods of
// a nil pointer may.
func readable(err error) (e error) {
	defer func() {
		if recover() != nil {
			e = fmt.Errorf("sender: the transport returned an error of type %T that panics when it is read", err)
		}
	}()
	_ = err.Error()
	asks(err)
	_ = errors.Is(err, context.Canceled)
	return err
}
