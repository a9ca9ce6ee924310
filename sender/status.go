package sender

import (
	"fmt"
	"time"
)

// Status says whether the lane moves. It is a snapshot, cheap to take at any time.
type Status struct {
	// Held is why the lane does not move: the destination does not work, the queue or the limiter
	// fails, every slot is taken by a call that does not return. "" means that it moves, or is
	// paused by order of the destination, or that Run is not running.
	Held string
	// HeldSince is when that began; zero when Held is "".
	HeldSince time.Time
	// Abandoned counts the calls into the transport that have not returned a second after their
	// timeout. Each keeps its slot and its items until it returns.
	Abandoned int
	// PausedUntil is the end of the silence that the destination ordered; zero: it ordered none.
	PausedUntil time.Time
}

// Status returns the latest snapshot. It never waits.
func (s *Sender) Status() Status {
	st := *s.status.Load()
	if !st.PausedUntil.After(s.now()) {
		st.PausedUntil = time.Time{}
	}
	return st
}

// publish renews the snapshot if something that it tells may have changed.
func (l *loop) publish() {
	if !l.changed {
		return
	}
	l.changed = false
	st := &Status{Abandoned: l.abandoned, PausedUntil: l.silence.paused}
	switch {
	case l.storage.on():
		st.Held, st.HeldSince = l.storage.err.Error(), l.storage.since
	case l.source.on():
		st.Held, st.HeldSince = l.source.err.Error(), l.source.since
	case l.pacing.on():
		st.Held, st.HeldSince = l.pacing.err.Error(), l.pacing.since
	case l.abandoned >= l.options.Concurrency:
		st.Held = fmt.Sprintf("all %d requests in flight ignore the end of their context", l.abandoned)
		st.HeldSince = l.stuckSince
	case l.silence.held:
		st.Held, st.HeldSince = "destination unavailable: "+l.silence.cause, l.silence.since
	}
	l.status.Store(st)
}
