package sender

import (
	"errors"
	"slices"
	"time"
)

// manyFirst is how many items have to fail for the first time, in a row, for the destination to be at
// fault. That they are different follows: no item fails for the first time twice.
const manyFirst = 5

// maxRefused bounds what is remembered of items that came back untouched. They are the next to be
// sent, so that more than are in flight means that their owner has dropped them.
const maxRefused = 10000

// answered takes an answer: what becomes of the items, and what it means for the lane.
func (l *loop) answered(r *request) {
	l.landed(r)
	probe := r == l.probe && l.silence.on()
	if r == l.probe {
		l.probe = nil
	}
	if r.unsent {
		l.unsent(r)
		return
	}
	if r.split() {
		half := len(r.items) / 2
		l.pieces = append(slices.Collect(slices.Chunk(r.items, half)), l.pieces...)
		l.stopBaton() // whoever waits for a token would claim something new with it
		return
	}
	if r.asksFor > 0 {
		l.options.Logger.Warn("sender: the destination asked for an absurd pause, cut", "asked", r.asksFor, "pause", longestPause)
	}
	works := slices.Contains(r.errs, nil)
	if works {
		l.succeeded(r)
		probe = probe && l.silence.on()
	}

	k := known{
		now:         r.ended,
		lastSuccess: l.lastSuccess,
		maxAttempts: l.options.MaxAttempts,
		pause:       r.pause,
		probe:       probe,
		stopped:     r.stopped,
		atMostOnce:  l.options.AtMostOnce,
	}
	took := r.ended.Sub(r.began)
	strongest, cause := calm, error(nil)
	for i, it := range r.items {
		err := r.errs[i]
		if err != nil {
			k.delay = r.delays[i]
			l.logUnknownKind(err)
		}
		k.refused = l.refused[it.Seq]
		delete(l.refused, it.Seq)
		o, e := decide(k, it, err)
		l.note(o, took)
		if o.Verdict == Released && e > calm {
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
		l.firstFailed++ // a batch counts once: one request said it
	}
	l.judge(strongest, cause, r, probe)
}

// unsent takes back a request that was not made, and notes what was in its way.
func (l *loop) unsent(r *request) {
	if r.recordErr != nil {
		r.piece = false // the queue is to take back what it may have recorded
	}
	l.giveBack(r)
	if r.recordErr != nil && l.ctx.Err() == nil && !l.storage.on() {
		l.fails(&l.storage, r.recordErr)
	}
}

// split reports whether the answer refuses a batch as a whole: it goes again in parts. That none of
// several is acceptable for good may well be the fault of one of them.
func (r *request) split() bool {
	if len(r.items) < 2 || !r.pause.IsZero() {
		return false
	}
	all := true
	for _, err := range r.errs {
		m, _ := read(err)
		if m == split {
			return true
		}
		all = all && m == permanent
	}
	return all
}

// succeeded notes a success, which may end a silence.
func (l *loop) succeeded(r *request) {
	l.lastSuccess = latest(l.lastSuccess, r.ended)
	l.firstFailed = 0
	if l.silence.on() {
		l.shift(r.ended, func(s *silence) { s.succeeded(r.began, r.ended) })
	}
}

// judge applies to the lane what an answer says about it. What was sent before a silence began, or
// was given up as a probe, can prolong that silence only by an order of the destination.
func (l *loop) judge(e effect, err error, r *request, probe bool) {
	if e == calm {
		return
	}
	now, cause := r.ended, text(err)
	l.shift(now, func(s *silence) {
		switch {
		case e == slowDown && probe:
			s.probeThrottled(now, r.pause, cause)
		case e == slowDown:
			s.pause(now, r.pause, cause)
		case probe:
			s.probeFailed(now, cause)
		case e == unreachable || e == failedFirst && l.firstFailed >= manyFirst:
			s.hold(now, cause)
		}
	})
}

// shift changes the silence, and sees to what follows from that: a worker that waits for a token is
// called back, and what stops the lane is logged once, as is its recovery.
func (l *loop) shift(now time.Time, change func(*silence)) {
	was := l.silence
	change(&l.silence)
	is := &l.silence
	if *is == was {
		return
	}
	l.changed = true
	log := l.options.Logger
	switch {
	case !is.on():
		l.probe = nil
		log.Info("sender: the lane is open again", "failures", was.failed, "after", now.Sub(was.since))
		return
	case is.held && !was.held:
		l.logged = now
		log.Warn("sender: the destination does not work, the lane is held", "err", is.cause)
	case !was.on():
		log.Info("sender: the destination asked for a pause", "until", is.paused, "err", is.cause)
	}
	if !was.on() {
		l.firstFailed = 0
		l.stopBaton()
	}
}

// remind logs a hold that lasts, once an hour.
func (l *loop) remind(now time.Time) {
	if at := l.nextReminder(); at.IsZero() || now.Before(at) {
		return
	}
	l.logged = now
	l.options.Logger.Warn("sender: the lane is still held", "failures", l.silence.failed, "for", now.Sub(l.silence.since), "err", l.silence.cause)
}

// nextReminder returns when a hold is to be logged again; zero: there is none.
func (l *loop) nextReminder() time.Time {
	if !l.silence.held {
		return time.Time{}
	}
	return l.logged.Add(repeatLog)
}

// logUnknownKind logs the first answer of [ByKind] about each kind that has no transport.
func (l *loop) logUnknownKind(err error) {
	var u *unknownKind
	if !errors.As(err, &u) || l.unknown[u.kind] || len(l.unknown) >= maxUnknownKinds {
		return
	}
	l.unknown[u.kind] = true
	l.options.Logger.Warn("sender: no transport for this kind; its items wait an hour at a time", "kind", u.kind)
	if len(l.unknown) == maxUnknownKinds {
		l.options.Logger.Warn("sender: further unknown kinds are not logged", "logged", maxUnknownKinds)
	}
}
