package sender

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// manyRefused is how many different items have to be refused for good in a row, alike and without a
// success between, until the destination is at fault. A program that sends three bad events in a
// row is common; five are more likely a gateway that lost its routes, or a mistyped path.
const manyRefused = 5

// longestRefused is the longest wait before the next probe of a lane that is held because
// everything is refused. It is short, because the destination answers, and because good items may
// stand behind many bad ones.
const longestRefused = 5 * time.Second

// refusedAlike begins the reason of an item that was refused, and is not dead because others were
// refused in the same way. A restart knows it by that.
const refusedAlike = "refused like others: "

// refusals are the items that were refused for good since the last success. The loop owns them.
//
// They wait, claimed, until something tells whose fault it is. A success of a request that began
// after the refusal, a refusal with another status, or that nothing else is there to be sent, means
// that the item is dead; one refusal too many in a row means that all of them are kept. A success
// of an older request ends the row, but kills nothing: it may be from before the destination broke.
// For the same reason a refusal from before the destination worked again decides nothing.
// A crash forgets them: they are sent again. With AtMostOnce a crash leaves them among the dead,
// "sent, answer unknown".
type refusals struct {
	status  int       // of the last; 0: its error has none
	count   int       // different items in a row, dead ones included
	waiting []refusal // in the order of their answers; at most maxRefusedWaiting
}

// maxRefusedWaiting bounds refusals.waiting. Only a lane that refuses and accepts in turn, and
// whose requests take long, has so many.
const maxRefusedWaiting = 256

type refusal struct {
	k    known
	item Item
	err  error
	by   sent
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
	kept := strings.HasPrefix(w.item.LastErr, refusedAlike)
	// As in blames, but the success of an older request may be from before the destination broke.
	worked := w.k.after(asKept(l.successBegan, w.k.now), w.item.FailedAt)
	works := l.mended // since when the destination is known to work
	if kept && worked {
		works = l.lastSuccess
	}
	if w.by.began.Before(works) {
		l.addOutcome(w.again(""), w.by) // it proves nothing; the next refusal decides
		return noEffect
	}
	status := statusOf(w.err)
	if f.count > 0 && status != f.status {
		l.killRefused(w.k.now) // the destination tells the items apart
		f.count = 0
	}
	f.status = status
	f.count++
	switch {
	case kept && !worked:
		f.count = max(f.count, manyRefused) // also if the others were refused before a restart
	case kept && f.count < manyRefused:
		l.kill(&w) // others succeeded since it was refused, and it is refused again
		return noEffect
	}
	if len(f.waiting) >= maxRefusedWaiting {
		l.killRefused(w.k.now)
	}
	f.waiting = append(f.waiting, w)
	if f.count < manyRefused {
		return noEffect
	}
	l.keepRefused()
	return refusedMany
}

// keepRefused lets all items that wait come again.
func (l *loop) keepRefused() {
	for _, w := range l.refusals.waiting {
		l.addOutcome(w.again(refusedAlike), w.by)
	}
	l.refusals.waiting = nil
}

// again returns the outcome of an item that is not dead: it comes again after its backoff,
// uncharged. An item that is refusedAlike dies at the next refusal after a success of others.
func (w *refusal) again(why string) Outcome {
	o := Outcome{Item: w.item, Err: w.err}
	o.fail(w.k, false)
	o.Item.LastErr = truncate(why + errorText(w.err))
	return o
}

// killRefused makes the items dead that wait and were refused up to a moment.
func (l *loop) killRefused(upTo time.Time) {
	f := &l.refusals
	n := 0
	for ; n < len(f.waiting) && !f.waiting[n].k.now.After(upTo); n++ {
		l.kill(&f.waiting[n])
	}
	f.waiting = slices.Delete(f.waiting, 0, n)
}

func (l *loop) kill(w *refusal) {
	o, _ := decide(w.k, w.item, w.err)
	l.addOutcome(o, w.by)
}

// judgeLonely decides about the items that wait if nothing else is there to compare them with: few
// are dead; many are kept, and hold the lane.
func (l *loop) judgeLonely(now time.Time) {
	n := len(l.refusals.waiting)
	switch {
	case n == 0 || len(l.pieces) > 0 || l.busy() || l.moreDue || l.askAgain || l.askDue(now):
	case n < manyRefused:
		l.killRefused(now)
	default:
		err := l.refusals.waiting[n-1].err
		l.refusals.count = n
		l.keepRefused()
		l.changeSilence(now, func(s *silence) {
			s.hold(now, refusedCause(err))
			s.err = &err
		})
	}
}

// refusedCause is why a lane is held that is refused everything.
func refusedCause(err error) string {
	return fmt.Sprintf("%d or more different items in a row were refused alike: %s", manyRefused, errorText(err))
}

// releaseRefused gives the items that wait back at the end of Run.
func (l *loop) releaseRefused() {
	for _, w := range l.refusals.waiting {
		l.addOutcome(Outcome{Item: w.item, Verdict: Released, Err: w.err}, w.by)
	}
	l.refusals.waiting = nil
}
