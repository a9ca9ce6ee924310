package sender

import (
	"slices"
	"time"
)

// manyFirst is how many requests in a row have to fail with items that fail for the first time in
// this Run, until the destination is at fault. The items differ: no item fails for the first time
// twice. Failures before a restart do not count, so that an outage holds the lane again after it.
// With a Prober one is enough: the items are dead, and the question costs nothing.
const manyFirst = 5

// maxRefused bounds loop.refused. Items that came back are sent next, so more of them than fit in
// flight means that their owner dropped some.
const maxRefused = 10000

// answered takes in an answer: what becomes of the items, and what it means for the lane.
func (l *loop) answered(r *request) {
	l.removeFlight(r)
	probe := r == l.probe && l.silence.on()
	if r == l.probe {
		l.probe = nil
		l.changed = true
	}
	if r.unsent {
		l.releaseUnsent(r)
		return
	}
	if r.test {
		l.testAnswered(r, probe)
		return
	}
	if r.split() {
		l.pieces = append(l.learning.refused(r.items), l.pieces...)
		l.stopBaton() // a worker that waits for a token would claim new items with it
		return
	}
	l.logAbsurdWait(r)
	works := slices.Contains(r.errs, nil)
	if works {
		if r.piece && l.learning.accepted(r.items, r.ended) {
			l.options.Logger.Info("sender: the destination refuses large batches as a whole, smaller ones are sent", "items", l.learning.limit)
		}
		l.succeeded(r)
		probe = probe && l.silence.on()
	}

	k := known{
		now:         r.ended,
		started:     asKept(l.started, r.ended),
		lastSuccess: asKept(l.lastSuccess, r.ended),
		maxAttempts: l.options.MaxAttempts,
		pause:       r.pause,
		probe:       probe,
		stopped:     r.stopped,
		atMostOnce:  l.options.AtMostOnce,
	}
	by := sent{r.number, r.began, r.ended.Sub(r.began)}
	l.learnUsual(r, by.took)
	strongest, cause := noEffect, error(nil)
	for i, it := range r.items {
		err := r.errs[i]
		if err != nil {
			k.delay = r.delays[i]
			l.logUnknownKind(err)
		}
		k.refused = l.refused[it.Seq]
		delete(l.refused, it.Seq)
		if err != nil && !works && k.refusal(err) {
			if e := l.refuse(refusal{k, it, err, by}); e > strongest {
				strongest, cause = e, err
			}
			continue
		}
		o, e := decide(k, it, err)
		l.addOutcome(o, by)
		if o.Verdict == Released && e > noEffect {
			if len(l.refused) >= maxRefused {
				clear(l.refused)
			}
			l.refused[it.Seq] = r.ended
		}
		if e > strongest {
			strongest, cause = e, err
		}
	}
	if strongest == failedFirst && !works && !l.silence.on() {
		l.firstFailed++ // a batch counts once
	}
	l.applyEffect(strongest, cause, r, probe)
}

// testAnswered takes in what the Prober said. Only an order of the destination counts if the lane
// has stopped waiting for it.
func (l *loop) testAnswered(r *request, probe bool) {
	l.logAbsurdWait(r)
	switch err := r.errs[0]; {
	case !r.pause.IsZero():
		l.addOutcome(Outcome{PauseUntil: r.pause, Err: err}, sent{}) // a restart must know it
		l.applyEffect(slowDown, err, r, probe)
	case err != nil && probe:
		l.applyEffect(unreachable, err, r, probe)
	case probe:
		l.changeSilence(r.ended, func(s *silence) { s.testPassed(r.ended) })
	}
}

// releaseUnsent releases the items of a request that was not made. If the record failed, settling
// is in trouble.
func (l *loop) releaseUnsent(r *request) {
	if r.recordErr != nil {
		r.piece = false // Released makes the queue undo what it may have recorded
	}
	l.release(r)
	if r.recordErr != nil && l.ctx.Err() == nil && !l.settleTrouble.on() {
		l.neighbourFails(&l.settleTrouble, r.recordErr)
	}
}

// split reports whether the answer refuses a batch as a whole: it goes again in parts. If all of
// several items are refused as Permanent, one of them may have spoiled the request.
func (r *request) split() bool {
	if len(r.items) < 2 || !r.pause.IsZero() {
		return false
	}
	all := true
	for _, err := range r.errs {
		m, _ := Classify(err)
		if m == MarkSplit {
			return true
		}
		all = all && m == MarkPermanent
	}
	return all
}

// succeeded takes in a success, which may end a silence.
func (l *loop) succeeded(r *request) {
	l.lastSuccess = latest(l.lastSuccess, r.ended)
	l.successBegan = latest(l.successBegan, r.began)
	l.firstFailed = 0
	l.refusals.count = 0
	l.killRefused(r.began)
	if l.silence.on() {
		l.changeSilence(r.ended, func(s *silence) { s.succeeded(r.began, r.ended) })
	}
}

// applyEffect applies to the lane what an answer says about it. A request that began before the
// silence, or a probe that was abandoned, can prolong the silence only by an order of the
// destination.
func (l *loop) applyEffect(e effect, err error, r *request, probe bool) {
	if e == noEffect {
		return
	}
	now, cause := r.ended, errorText(err)
	if e == refusedMany {
		cause = refusedCause(err)
	}
	l.changeSilence(now, func(s *silence) {
		was := *s
		switch {
		case e == slowDown && probe:
			s.probeThrottled(now, r.pause, cause)
		case e == slowDown:
			s.pause(now, r.pause, cause)
		case e == refusedMany && probe:
			s.probeRefused(now, cause)
		case probe:
			s.probeFailed(now, cause)
		case e == unreachable || e == refusedMany || e == failedFirst && (l.firstFailed >= manyFirst || l.prober != nil):
			s.hold(now, cause)
		}
		if *s != was {
			kept := err // so that err itself stays off the heap when nothing changes
			s.err = &kept
		}
	})
}

// changeSilence changes the silence and does what follows: it publishes the change, calls the baton
// back when a silence begins, and logs it.
func (l *loop) changeSilence(now time.Time, change func(*silence)) {
	was := l.silence
	change(&l.silence)
	is := &l.silence
	if *is == was {
		return
	}
	l.changed = true
	l.logSilence(now, was)
	switch {
	case !is.on():
		l.probe = nil
		l.mended = now
	case !was.on():
		l.firstFailed = 0
		l.stopBaton()
	}
}
