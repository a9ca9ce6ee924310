package sender

import (
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
	longestPause  = 24 * time.Hour        // beyond that a Retry-After is taken for a mistake
	errorText     = 1024                  // bytes of an error kept with an item
)

var defaultBackoff = Exponential(time.Second, time.Minute)

// Exponential returns a curve for [Options].Backoff that doubles from min (at attempt 1) to max and
// then adds up to a quarter at random, so that what failed together does not come back together. The
// addition comes on top of max: jitter only ever lengthens a wait. min of zero or less means 1s, max
// of zero or less 60s, a max below min means min; a year is the most. The curve is safe for
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

// known is what decide knows beside the item and the answer.
type known struct {
	now         time.Time     // of the answer
	lastSuccess time.Time     // of any request of this lane; zero: none yet
	refused     time.Time     // when the item last came back for the lane's sake, which the item does not tell; zero: never
	maxAttempts int           // not above zero: no limit
	delay       time.Duration // the backoff of this item, if it failed now
	pause       time.Time     // the end of the pause that a throttled answer orders
	probe       bool          // the request was to find out whether a silence is over
	stopped     bool          // Run's context had ended when the answer came
	atMostOnce  bool          // an answer that does not say that nothing was accepted is the last
}

// answerUnknown is why an item that must not be sent twice is among the dead.
const answerUnknown = "sent, answer unknown"

// An effect is what an answer says about the lane; the strongest of a batch counts.
type effect int

const (
	calm        effect = iota // nothing
	failed                    // the item failed; alone, that says nothing about the others
	failedFirst               // the item failed for the first time: several such in a row mean the destination
	unreachable               // the destination is at fault
	slowDown                  // the destination wants silence
)

// decide says what becomes of an item after an attempt that ended in err, and what that means for
// the lane. It is the table of verdicts, and reads neither clock nor memory.
//
// A failure is charged to the item the first time, and later only if another request has succeeded
// since the item's previous failure: then the destination works, and the item is to blame. So an
// outage of any length buries nothing. Sent at most once, an item is dead as soon as nobody knows
// whether it was accepted, whoever is to blame.
func decide(k known, it Item, err error) (Outcome, effect) {
	if err == nil {
		return Outcome{Item: it, Verdict: Delivered}, calm
	}
	o := Outcome{Item: it, Verdict: Released, Err: err}
	m, wait := read(err)
	unknown := k.atMostOnce && m == plain
	cancelled := k.stopped && errors.Is(err, context.Canceled)
	if cancelled && !unknown {
		return o, calm
	}
	first := it.FailedAt.IsZero()
	last := latest(it.FailedAt, k.refused)
	// A failure that lies ahead of the clock was noted before the clock was set back.
	blamed := !last.IsZero() && !k.lastSuccess.IsZero() && (k.lastSuccess.After(last) || last.After(k.now))

	switch m {
	case permanent, split:
		o.fail(k, true)
		o.Verdict, o.Due = Dead, time.Time{}
		return o, calm

	case later:
		// Says nothing about fault: Failures and Failed stay as they are.
		o.Verdict = Retry
		o.Due = k.now.Add(min(wait, longestDelay))
		o.Item.LastErr = text(err)
		return o, calm

	case throttled:
		o.PauseUntil = k.pause
		if k.probe || blamed {
			// Out of the way for a while after the pause, or it would cause the next one at once
			// and the others would hardly move.
			o.fail(k, false)
			o.Due = o.Due.Add(max(k.pause.Sub(k.now), 0))
		}
		return o, slowDown

	case unavailable:
		switch {
		case blamed:
			o.fail(k, true)
			return o, failed
		case k.probe: // the next probe shall be another item
			o.fail(k, false)
		}
		return o, unreachable

	default:
		o.fail(k, first || blamed || unknown)
		if unknown {
			o.Verdict, o.Due = Dead, time.Time{}
			o.Item.LastErr = cut(answerUnknown + ": " + text(err))
		}
		switch {
		case cancelled:
			return o, calm
		case first:
			return o, failedFirst
		}
		return o, failed
	}
}

// fail notes a failed attempt: the item comes again after its delay, or is dead if this attempt was
// charged and the last it had.
func (o *Outcome) fail(k known, charged bool) {
	o.Verdict = Retry
	o.Due = k.now.Add(min(max(k.delay, shortestDelay), longestDelay))
	o.Item.Failures++
	o.Item.FailedAt = k.now
	o.Item.LastErr = text(o.Err)
	if !charged {
		return
	}
	o.Item.Attempts++
	if k.maxAttempts > 0 && o.Item.Attempts >= k.maxAttempts {
		o.Verdict, o.Due = Dead, time.Time{}
	}
}

// text is what an item keeps of an error. One that has been read once may yet panic the next time.
func text(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("sender: an error of type %T that panics when it is read", err)
		}
	}()
	return cut(err.Error())
}

// cut shortens a reason to 1 KiB, between two characters.
func cut(s string) string {
	if len(s) <= errorText {
		return s
	}
	end := errorText
	for end > errorText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.Clone(s[:end])
}

// sound returns err, or what stands for it if its own methods panic, as those of a nil pointer may.
func sound(err error) (e error) {
	defer func() {
		if recover() != nil {
			e = fmt.Errorf("sender: the transport returned an error of type %T that panics when it is read", err)
		}
	}()
	_ = err.Error()
	read(err)
	_ = errors.Is(err, context.Canceled)
	return err
}
