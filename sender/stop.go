package sender

import (
	"context"
	"time"
)

const (
	// graceOfRun is how long requests in flight may go on after the end of Run's context.
	graceOfRun = 5 * time.Second
	// endMargin is kept between the expected answer of the last request and the end.
	endMargin = 50 * time.Millisecond
	// usualFades is the number of answers after which a call that took long counts for a third.
	usualFades = 32
)

// Stop makes Run end, and returns at once. Nothing is claimed any more. Requests in flight may go
// on until ctx ends, or their timeout comes; then their contexts are cancelled, and Run returns at
// most half a second later, plus the time that recording takes. A ctx that has ended, or is nil,
// leaves them no time. Stop may be called at any time, also before Run; the first call counts, and
// it counts instead of a later end of Run's context.
func (s *Sender) Stop(ctx context.Context) {
	if ctx == nil {
		ended, end := context.WithCancel(context.Background())
		end()
		ctx = ended
	}
	s.inbox.leave(ending{ctx, true})
}

// LastFlush is [Sender.Flush] before a call of Stop with the same ctx. From now on no request
// starts that the deadline of ctx would probably cut off, judged by how long requests lately took.
// Once it is too late for another request and none is in flight, LastFlush returns an error that
// says so. The deadline cannot be taken back.
func (s *Sender) LastFlush(ctx context.Context) error {
	if ctx != nil {
		s.inbox.leave(ending{ctx, false})
	}
	return s.Flush(ctx)
}

// ending tells the loop that calls will be cancelled when ctx ends.
type ending struct {
	ctx  context.Context
	stop bool // claim nothing more
}

// end begins the end of Run.
func (l *loop) end(e ending) {
	if l.stopping {
		return
	}
	if at, ok := e.ctx.Deadline(); ok {
		l.endsAt = at
		l.judgeEnd()
	}
	if !e.stop {
		return
	}
	l.stopping = true
	l.stopBaton()
	context.AfterFunc(e.ctx, func() {
		l.cut()
		l.inbox.ring()
	})
}

// over reports whether Run has nothing more to wait for, except for answers to be recorded. It
// notices the end of Run's context.
func (l *loop) over() bool {
	if l.runCtx.Err() != nil && !l.stopping {
		ctx, cancel := context.WithTimeout(l.uncancelled, graceOfRun)
		context.AfterFunc(l.ctx, cancel)
		l.end(ending{ctx, true})
	}
	return l.stopping && (!l.busy() || l.ctx.Err() != nil)
}

// learnUsual takes in how long the call of a request took. A call that took long is forgotten
// slowly, so that the slow calls among the latest ones count.
func (l *loop) learnUsual(r *request, took time.Duration) {
	l.usual = max(took, l.usual-l.usual/usualFades)
	l.overtaken = latest(l.overtaken, r.deadline)
}

// judgeEnd works out when it is too late for another request, if the time of the end is known. A
// request may take as long as calls lately took, or as those in flight have taken until it starts,
// and a quarter more. A call in flight says nothing if a later one has returned: it alone is slow.
func (l *loop) judgeEnd() {
	if l.endsAt.IsZero() {
		return
	}
	end := l.endsAt.Add(-endMargin)
	l.lastStart = end.Add(-l.usual - l.usual/4)
	for _, r := range l.flight {
		if !r.deadline.After(l.overtaken) {
			continue
		}
		began := r.deadline.Add(-l.patience())
		// A request at t is finished at t + 5/4*(t-began), which must not be after end.
		if t := began.Add(end.Sub(began) / 9 * 4); t.Before(l.lastStart) {
			l.lastStart = t
		}
	}
	l.gate.closeFrom(l.lastStart)
}

// tooLate reports whether a request that starts at t would probably be cut off.
func (l *loop) tooLate(t time.Time) bool { return !l.lastStart.IsZero() && !t.Before(l.lastStart) }
