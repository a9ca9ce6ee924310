package sender

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	abandonAfter = time.Second // beyond its timeout, a call that has not returned is abandoned
	endAfter     = 500 * time.Millisecond
	longestSleep = time.Minute // a timer stands still while the machine sleeps
	repeatLog    = time.Hour   // for a hold that lasts
)

// loop is the state of one Run, owned by its goroutine except where a comment says otherwise. Others
// reach it by its inbox.
//
// One worker at a time has the baton: the right to wait for a token and to claim. It gives the baton
// back as soon as it has something to send, and the next one starts.
type loop struct {
	*Sender                 // its fields do not change, or are safe for concurrent use
	ctx     context.Context // cancelled when Run's ends, be it by a deadline: that is no fault of a request
	lasting context.Context // never ends, for what must be recorded

	over context.Context // has ended, as have the calls that nobody listened to

	reports []report // those that were read last; their space is used again
	helpers sync.WaitGroup
	gate    gate

	curveBroken, listenerBroken sync.Once // what is logged once

	// The baton.
	bearer    *request        // of the worker that has it; nil: the loop has it
	resting   []worker        // have nothing to do; the last was busy last
	baton     context.Context // of the worker that has it
	stopBaton context.CancelFunc
	stop      context.CancelFunc // of ctx
	token     time.Time          // when a token was granted that is not used yet; zero: there is none

	// What may be sent.
	pieces [][]Item  // of batches that were split; they go before anything new
	more   bool      // the queue said that more is due
	news   bool      // something happened since the queue was last asked
	ask    time.Time // when to ask it again; zero: not before there is news

	// What is on its way.
	flight      []*request
	abandoned   int         // of these
	stuckSince  time.Time   // when the latest of them was abandoned
	overdue     time.Time   // no request in flight is to be abandoned before; zero: there is none
	noted       *outcomes   // for the next recorder
	recordAgain time.Time   // not before
	spare       []*outcomes // empty, to be used again: to make room each time cost a quarter of a drain
	settling    int         // recorders
	pressing    bool        // one of them is told not to wait for company
	pressAgain  time.Time   // not before
	pressed     time.Time   // when it was last told
	unsettled   int         // outcomes noted and not recorded

	// What is known of the lane.
	silence     silence
	logged      time.Time            // when the hold was last logged
	probe       *request             // in flight; nil: none
	lastSuccess time.Time            // zero: none yet
	firstFailed int                  // requests with items that failed for the first time, since the last success
	refused     map[uint64]time.Time // by Seq: when an item was last released because the lane was at fault
	storage     trouble              // Settle
	source      trouble              // Claim
	pacing      trouble              // the limiter
	unknown     map[string]bool

	flushes  []*flush
	checking bool
	moved    bool      // something was settled, or found idle, since the last check
	check    time.Time // no check before

	changed bool // Status may have
	timer   *time.Timer
	alarm   time.Time // when the timer fires; zero or past: it does not
}

func newLoop(s *Sender, ctx context.Context) *loop {
	l := &loop{
		Sender:  s,
		lasting: context.WithoutCancel(ctx),
		noted:   new(outcomes),
		news:    true,
		unknown: make(map[string]bool),
		refused: make(map[uint64]time.Time),
		timer:   time.AfterFunc(longestSleep, s.inbox.ring),
	}
	l.ctx, l.stop = context.WithCancel(l.lasting)
	if ctx.Err() != nil {
		l.stop()
	}
	context.AfterFunc(ctx, func() {
		l.stop()
		l.inbox.ring()
	})
	over, end := context.WithCancel(l.lasting)
	end()
	l.over = over
	l.baton, l.stopBaton = context.WithCancel(l.ctx)
	return l
}

func (l *loop) run() error {
	defer l.timer.Stop()
	defer l.stop()
	defer l.dismiss()
	now := l.now()
	if p := l.queue.Paused(); p.After(now) {
		l.silence.pause(now, p, "")
		l.gate.pause(p, time.Time{}, time.Time{})
		if l.limiter != nil {
			l.limiter.Pause(p)
		}
		l.changed = true
	}
	for l.ctx.Err() == nil {
		now := l.now()
		l.abandon(now)
		l.settle(now)
		l.offer(now)
		l.serveFlushes(now)
		l.press(now)
		l.remind(now)
		l.publish()
		l.setTimer(now)
		<-l.inbox.bell
		l.read()
	}
	return l.finish()
}

// offer starts a worker with the baton, if something may be due and nothing is in the way.
func (l *loop) offer(now time.Time) {
	due := len(l.pieces) > 0 || l.more || l.news || l.askNow(now)
	if !due || l.bearer != nil || len(l.flight) >= l.options.Concurrency || l.unsettled >= maxUnsettled {
		return
	}
	if l.storage.on() || now.Before(l.source.again) || now.Before(l.pacing.again) {
		return
	}
	if l.silence.on() && (l.probe != nil || now.Before(l.silence.until)) {
		return
	}
	if l.baton.Err() != nil {
		l.baton, l.stopBaton = context.WithCancel(l.ctx)
	}
	r := &request{
		baton:  l.baton,
		probe:  l.silence.on(),
		peek:   !l.more && l.limiter != nil,
		token:  l.token,
		failed: l.silence.failed,
	}
	l.token = time.Time{}
	if len(l.pieces) > 0 {
		r.piece, r.items = true, l.pieces[0]
		l.pieces = l.pieces[1:]
	} else {
		l.news = false
	}
	l.give(r)
}

func (l *loop) askNow(now time.Time) bool { return !l.ask.IsZero() && !now.Before(l.ask) }

// claimed takes the baton back, with what its worker got.
func (l *loop) claimed(r *request) {
	l.bearer = nil
	l.token = r.token
	if !r.asked.IsZero() {
		l.more = r.more()
		l.ask = r.next
		if at := r.asked.Add(longestSleep); !l.ask.IsZero() && l.ask.After(at) {
			l.ask = at // the wall clock may be set, and a suspend may pass
		}
	}
	if r.limiterErr != nil {
		l.news = true // what is due was not claimed
	}
	for _, it := range r.expired {
		delete(l.refused, it.Seq)
		l.note(Outcome{Item: it, Verdict: Expired}, 0)
	}
	stopped := r.baton.Err() != nil // then an error says no more than that
	switch {
	case r.queueErr != nil:
		l.news = true
		if !stopped {
			l.fails(&l.source, r.queueErr)
		}
	case !r.asked.IsZero():
		l.works(&l.source)
	}
	switch {
	case r.limiterErr != nil:
		if !stopped {
			l.fails(&l.pacing, r.limiterErr)
		}
	case r.paced:
		l.works(&l.pacing)
	}
	switch {
	case r.withdrawn:
		l.rest(r.worker)
		l.giveBack(r)
	case len(r.items) > 0:
		r.slot = len(l.flight)
		l.flight = append(l.flight, r)
		l.flying.Store(int64(len(l.flight)))
		if l.overdue.IsZero() {
			l.overdue = r.deadline
		}
		if r.probe {
			l.probe = r
		}
	default:
		l.rest(r.worker)
		l.moved = true
	}
}

// giveBack frees the items of a request that was not made. Those of a batch that was split stay in
// hand.
func (l *loop) giveBack(r *request) {
	if r.piece {
		l.pieces = append([][]Item{r.items}, l.pieces...)
		return
	}
	for _, it := range r.items {
		l.note(Outcome{Item: it, Verdict: Released}, 0)
	}
}

// landed takes a request out of flight.
func (l *loop) landed(r *request) {
	last := len(l.flight) - 1
	l.flight[r.slot] = l.flight[last]
	l.flight[r.slot].slot = r.slot
	l.flight[last] = nil
	l.flight = l.flight[:last]
	l.flying.Store(int64(last))
	l.rest(r.worker)
	if last == 0 {
		l.overdue = time.Time{}
	}
	if r.abandoned {
		l.abandoned--
		l.changed = true
	}
}

// abandon counts the calls that have not returned in time. They keep their slots and items. A probe
// that does not return has failed.
func (l *loop) abandon(now time.Time) {
	if l.overdue.IsZero() || now.Before(l.overdue) {
		return
	}
	l.overdue = time.Time{}
	for _, r := range l.flight {
		switch {
		case r.abandoned:
		case now.Before(r.deadline):
			if l.overdue.IsZero() || r.deadline.Before(l.overdue) {
				l.overdue = r.deadline
			}
		default:
			r.abandoned = true
			l.abandoned++
			l.stuckSince = now
			l.changed = true
			l.options.Logger.Warn("sender: the transport ignores the end of its context", "abandoned", l.abandoned, "concurrency", l.options.Concurrency)
			if r == l.probe {
				l.probe = nil
				l.shift(now, func(s *silence) {
					s.probeFailed(now, fmt.Sprintf("no answer within %v", l.options.Timeout+abandonAfter))
				})
			}
		}
	}
}

// read takes in everything that has happened.
func (l *loop) read() {
	l.reports = l.inbox.empty(l.reports)
	for _, r := range l.reports {
		r.take(l)
	}
	clear(l.reports)
	if l.woken.Load() {
		l.woken.Store(false)
		l.news = true
	}
}

// setTimer sets the one timer to the earliest time that anything waits for. A time that has passed
// waits for something else. Firing early does no harm.
func (l *loop) setTimer(now time.Time) {
	at := now.Add(longestSleep)
	wanted := false
	for _, t := range [...]time.Time{l.ask, l.silence.until, l.storage.again, l.source.again, l.pacing.again, l.overdue, l.nextReminder(), l.nextCheck(), l.nextPress(), l.nextRecord()} {
		if t.After(now) {
			wanted = true
			if t.Before(at) {
				at = t
			}
		}
	}
	if pending := l.alarm.After(now); !wanted || pending && !l.alarm.After(at) {
		return
	}
	l.alarm = at
	l.timer.Reset(at.Sub(now))
}

// finish waits for the workers, gives back what was not sent, and records the rest.
func (l *loop) finish() error {
	l.stopBaton()
	patience := time.NewTimer(endAfter)
	defer patience.Stop()
	for waiting := true; waiting && (l.bearer != nil || len(l.flight) > l.abandoned); {
		select {
		case <-l.inbox.bell:
			l.read()
		case <-patience.C:
			waiting = false
		}
	}
	for _, items := range l.pieces {
		for _, it := range items {
			l.note(Outcome{Item: it, Verdict: Released}, 0)
		}
	}
	l.awaitSettled()
	l.storage.again, l.recordAgain = time.Time{}, time.Time{}
	l.settle(l.now())
	l.awaitSettled()
	l.helpers.Wait()
	l.publish()
	if len(l.noted.list) > 0 {
		return fmt.Errorf("sender: %w", l.storage.err)
	}
	return nil
}
