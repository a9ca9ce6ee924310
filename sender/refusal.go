package sender

import (
	"errors"
	"strings"
	"time"
)

// manyRefused is how many different items have to be refused for good in a row, alike and without a
// success between, until the destination is at fault. A program that sends three bad events in a row
// is common; five are more likely a gateway that lost its routes, or a mistyped path.
const manyRefused = 5

// longestRefused is the longest wait before the next probe of a lane that is held because everything
// is refused. It is short, because the destination answers, and because good items may stand behind
// many bad ones.
const longestRefused = 5 * time.Second

// refusedAlike begins the reason of an item that was refused, and is not dead because others were
// refused in the same way. A restart knows it by that.
const refusedAlike = "refused like others: "

// refusals are the items that were refused for good since the last success. The loop owns them.
//
// The first few wait, claimed, until something tells whose fault it is: a success, or a refusal with
// another status, or that nothing else is there to be sent, means that each is dead; one refusal too
// many means that all of them are kept. A crash forgets them: they are sent again. With AtMostOnce a
// crash leaves them among the dead, "sent, answer unknown".
type refusals struct {
	status  int       // of the last; 0: its error has none
	count   int       // different items in a row, dead ones included
	waiting []refusal // fewer than manyRefused
}

type refusal struct {
	k    known
	item Item
	err  error
	took time.Duration
}

// statusOf returns the status of an error that has one: a method Status() int. 0: it has none.
func statusOf(err error) (status int) {
	defer func() { _ = recover() }() // like the other methods of an error
	var s interface{ Status() int }
	if errors.As(err, &s) {
		return s.Status()
	}
	return 0
}

// refuse takes in that an item was refused for good, while nothing says that others are accepted.
func (l *loop) refuse(w refusal) effect {
	f := &l.refusals
	status := statusOf(w.err)
	if f.count > 0 && status != f.status {
		l.buryRefused() // the destination tells the items apart
		f.count = 0
	}
	f.status = status
	f.count++
	if strings.HasPrefix(w.item.LastErr, refusedAlike) {
		f.count = max(f.count, manyRefused) // before a restart
	}
	f.waiting = append(f.waiting, w)
	if f.count < manyRefused {
		return noEffect
	}
	for _, w := range f.waiting {
		l.addOutcome(keep(w), w.took)
	}
	f.waiting = nil
	return refusedMany
}

// keep returns the outcome of an item that was refused because everything is: it comes again after
// its backoff, uncharged. It dies at the next refusal after a success of others.
func keep(w refusal) Outcome {
	o := Outcome{Item: w.item, Err: w.err}
	o.fail(w.k, false)
	o.Item.LastErr = truncate(refusedAlike + errorText(w.err))
	return o
}

// buryRefused makes the items that wait dead.
func (l *loop) buryRefused() {
	for _, w := range l.refusals.waiting {
		o, _ := decide(w.k, w.item, w.err)
		l.addOutcome(o, w.took)
	}
	l.refusals.waiting = nil
}

// buryLonely makes the items that wait dead if nothing else is there to compare them with.
func (l *loop) buryLonely(now time.Time) {
	if len(l.pieces) == 0 && !l.busy() && !l.moreDue && !l.askAgain && !l.askDue(now) {
		l.buryRefused()
	}
}

// releaseRefused gives the items that wait back at the end of Run.
func (l *loop) releaseRefused() {
	for _, w := range l.refusals.waiting {
		l.addOutcome(Outcome{Item: w.item, Verdict: Released, Err: w.err}, w.took)
	}
	l.refusals.waiting = nil
}
