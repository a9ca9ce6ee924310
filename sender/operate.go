package sender

import "time"

// heedOperator takes in the operator's pause. While it is in force nothing is offered, and nothing
// is in hand that the owner of the items may want to drop or erase: what waits goes back,
// uncharged. Requests in flight finish. A crash changes nothing: the queue keeps the pause.
func (l *loop) heedOperator(now time.Time) {
	if l.operator == nil {
		return
	}
	p := l.operator.OperatorPause()
	if !p.On(now) {
		p = Pause{}
	}
	was := l.ordered
	if p != was {
		l.ordered, l.changed = p, true
		l.logOrder(was)
	}
	switch {
	case l.byOperator():
		l.stopBaton()
		l.releasePieces()
		l.releaseRefused()
		l.refusals.count = 0
	case !was.Since.IsZero():
		l.askAgain = true
		if l.limiter != nil {
			l.limiter.Pause(now.Add(time.Millisecond)) // empties its bucket of the tokens that came in during the pause
		}
	}
}

// byOperator reports whether the operator's pause is in force.
func (l *loop) byOperator() bool { return !l.ordered.Since.IsZero() }

// logOrder logs that the operator has paused the lane, or that the pause is over.
func (l *loop) logOrder(was Pause) {
	if p := l.ordered; l.byOperator() {
		log := l.options.Logger
		if !p.Until.IsZero() {
			log = log.With("until", p.Until)
		}
		log.Info("sender: the lane was paused by its operator", "by", p.By, "reason", p.Reason)
		return
	}
	l.options.Logger.Info("sender: the operator's pause is over", "after", l.now().Sub(was.Since), "by", was.By)
}

// pausedByOperator reports whether the queue keeps an operator's pause that is in force.
func (s *Sender) pausedByOperator() (Pause, bool) {
	if s.operator == nil {
		return Pause{}, false
	}
	p := s.operator.OperatorPause()
	return p, p.On(s.now())
}

// text says how long the pause lasts.
func (p Pause) text() string {
	if p.Until.IsZero() {
		return "paused by its operator, without an end"
	}
	return "paused by its operator until " + p.Until.Format(time.RFC3339)
}
