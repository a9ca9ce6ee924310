package sender

import (
	"fmt"
	"time"
)

// Status says whether the lane moves. It is a snapshot, cheap to take at any time.
type Status struct {
	// Held is why the lane does not move: the destination does not work, the queue or the limiter
	// fails, or every slot is taken by a call that does not return. "" means that the lane moves,
	// that the destination ordered a pause, or that Run is not running.
	Held string
	// HeldBy names what is broken: HeldByDestination, HeldByStorage, HeldByLimiter or
	// HeldByTransport. "" when Held is "".
	HeldBy string
	// HeldErr is the error behind Held, for [errors.As]; nil when there is none.
	HeldErr error
	// Probe is when the held destination is tried next, if something is due then; zero: it is not
	// known, as while it is being tried.
	Probe time.Time
	// HeldSince is when that began; zero when Held is "".
	HeldSince time.Time
	// Abandoned counts the calls into the transport that have not returned a second after their
	// timeout. Each keeps its slot and its items until it returns.
	Abandoned int
	// Died counts the items that became dead since Run began, as the queue has recorded it. Unlike
	// Counts.Dead it does not fall when items are revived or dropped.
	Died int
	// Requests counts the requests that were started since Run began.
	Requests uint64
	// Concurrency is how many requests may now be in flight.
	Concurrency int
	// PausedUntil is the end of the pause that the destination ordered; zero: it ordered none. It
	// is also a pause that another lane was told, if they share a limiter that is a [Pauser].
	PausedUntil time.Time
}

// The values of Status.HeldBy.
const (
	HeldByDestination = "destination" // it does not answer, or refuses everything
	HeldByStorage     = "storage"     // the queue cannot be read or written
	HeldByLimiter     = "limiter"     // the limiter fails
	HeldByTransport   = "transport"   // every slot is taken by a call that does not return
)

// Status returns the latest snapshot. It never waits.
func (s *Sender) Status() Status {
	st := *s.status.Load()
	st.Requests = s.requests.Load()
	st.Concurrency = s.most()
	if p, paused := s.pausedByOperator(); paused && !st.Probe.IsZero() {
		if st.Probe = latest(st.Probe, p.Until); p.Until.IsZero() {
			st.Probe = time.Time{}
		}
	}
	if !st.Probe.After(s.now()) {
		st.Probe = time.Time{}
	}
	st.PausedUntil = latest(st.PausedUntil, s.queue.Paused())
	if p, ok := s.limiter.(Pauser); ok {
		st.PausedUntil = latest(st.PausedUntil, p.Paused())
	}
	if !st.PausedUntil.After(s.now()) {
		st.PausedUntil = time.Time{}
	}
	return st
}

// allAbandoned says that no slot is free. SetConcurrency may have left fewer than are abandoned.
func (l *loop) allAbandoned() string {
	return fmt.Sprintf("%d requests ignore the end of their context, and at most %d may be in flight", l.abandoned, l.most())
}

// heldBecause begins Status.Held when the destination does not work.
const heldBecause = "destination unavailable: "

// publish renews the snapshot if it may have changed.
func (l *loop) publish() {
	if !l.changed {
		return
	}
	l.changed = false
	st := &Status{Abandoned: l.abandoned, Died: l.deathLog.total, PausedUntil: l.silence.paused}
	troubled := func(by string, t *trouble) {
		st.Held, st.HeldBy, st.HeldErr, st.HeldSince = t.err.Error(), by, t.err, t.since
	}
	switch {
	case l.settleTrouble.on():
		troubled(HeldByStorage, &l.settleTrouble)
	case l.claimTrouble.on():
		troubled(HeldByStorage, &l.claimTrouble)
	case l.limiterTrouble.on():
		troubled(HeldByLimiter, &l.limiterTrouble)
	case l.abandoned >= l.most():
		st.HeldBy = HeldByTransport
		st.Held = l.allAbandoned()
		st.HeldSince = l.stuckSince
	case l.silence.held:
		st.HeldBy, st.Held, st.HeldSince = HeldByDestination, heldBecause+l.silence.cause, l.silence.since
		if l.silence.err != nil {
			st.HeldErr = *l.silence.err
		}
		if l.probe == nil {
			st.Probe = l.silence.until
		}
	}
	l.status.Store(st)
}
