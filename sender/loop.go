package sender

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	abandonAfter = time.Second            // a call is abandoned this long after its timeout
	endAfter     = 500 * time.Millisecond // how long the end of Run waits for calls that it cancelled
	longestSleep = time.Minute            // a timer stands still while the machine sleeps
)

// loop is the state of one Run. Its goroutine alone reads and writes it, except for the fields that
// say otherwise: no mutex guards it. Other goroutines leave a report in the inbox and ring the
// bell. The loop never waits for anything but the bell. Whatever may block runs in a goroutine of
// its own: a request (serve), a Settle (runSettle), a check for Flush, a call of FlushGathered.
//
// Invariants:
//   - At most one worker has the baton: the right to wait for a token and to claim. A worker gives
//     it back, with what it got, before it sends. So claims and tokens never race, while requests
//     overlap.
//   - A claimed item is in exactly one place: a request (the bearer, or one in flight), pieces,
//     refusals.waiting, toSettle, or the outcomes of a Settle in progress. Only a successful Settle
//     frees it.
//   - No request starts while len(flight) >= most(). An abandoned call stays in flight, with its
//     items, until it returns.
//   - unsettled == len(toSettle.list) + the outcomes of every Settle in progress. No request starts
//     at maxUnsettled or above.
//   - While Settle, Claim or the limiter is in trouble, nothing is offered before its time to
//     retry.
//   - During a silence at most one request starts at a time: the probe. Requests that started
//     before the silence finish and are judged, but they do not end it.
//   - The loop keeps nothing that a restart would miss. After a crash at any point, the queue hands
//     out again each claimed item whose outcome is not on disk. With AtMostOnce, an item that was
//     recorded as Sending stays among the dead instead.
type loop struct {
	*Sender // its fields do not change, or are safe for concurrent use

	// The contexts of Run. They do not change after newLoop.
	runCtx      context.Context    // Run's own; its end begins the end of Run
	ctx         context.Context    // of all calls; cancelled when the grace of the end is over
	cut         context.CancelFunc // of ctx
	uncancelled context.Context    // of Settle: what happened must be recorded
	endedCtx    context.Context    // has ended, like the calls that nobody listened to; see call

	// Shared with other goroutines; each is safe for concurrent use.
	helpers sync.WaitGroup // checks for Flush and calls of FlushGathered
	gate    gate           // a pause, known to all workers at once

	// Each kind of panic is logged once, with its stack.
	transportBroken, curveBroken, listenerBroken sync.Once

	// The baton. offer gives it to a worker, claimed takes it back.
	bearer    *request        // of the worker that has it; nil: the loop has it
	baton     context.Context // of the worker that has it; ends when the lane falls silent
	stopBaton context.CancelFunc
	token     time.Time // when an unused token was granted; zero: there is none

	resting []worker // without a request; the last one was busy last. Written by the methods in pool.go

	// What may be due. Written by claimed, and by everything that may have made an item due.
	pieces   [][]Item  // parts of batches that were split; they go before anything new
	learning learning  // how many items the destination takes in a request
	moreDue  bool      // the last Claim said that more is due
	askAgain bool      // something happened since the last Claim
	askAt    time.Time // when to claim again; zero: only after something happens

	// Requests in flight. Written by claimed, removeFlight and abandonOverdue.
	flight      []*request
	abandoned   int       // those in flight that did not return in time
	stuckSince  time.Time // when the latest of them was abandoned
	nextAbandon time.Time // no request is overdue before this time; zero: none is in flight

	// The end of Run. Written by the methods in stop.go.
	stopping  bool          // nothing is claimed any more
	endsAt    time.Time     // when calls are going to be cancelled; zero: no time is known
	lastStart time.Time     // no request starts from then on; zero unless endsAt is known
	usual     time.Duration // how long calls lately took; 0: none has returned
	overtaken time.Time     // the last deadline of those that have returned; zero: none has

	// Outcomes. Written by the methods in settle.go.
	toSettle    *outcomes    // for the next Settle
	settleAgain time.Time    // on a busy lane no Settle starts before
	settling    int          // calls of runSettle in progress
	recording   atomic.Int64 // of these, the ones that may bring a pause to the queue
	unsettled   int          // outcomes that are not recorded yet
	spare       []*outcomes  // empty, for toSettle; see maxSpare

	// What the operator ordered. Written by the methods in operate.go and throttle.go.
	ordered   Pause       // the operator's pause; the zero Pause: none is in force
	clearings []*clearing // that wait
	clearing  bool        // one is in progress

	// FlushGathered. Written by the methods in settle.go.
	flushingGathered   bool      // a call is in progress
	flushGatheredAgain time.Time // no call before
	gatheredFlushedAt  time.Time // when the last call began

	// What the answers say about the lane. Written by the methods in answer.go.
	silence      silence              // a pause or a hold
	probe        *request             // in flight; nil: none
	lastSuccess  time.Time            // when a request last succeeded; zero: none did
	successBegan time.Time            // when the latest request began that succeeded; zero: none did
	mended       time.Time            // when the last silence ended: older requests prove nothing
	started      time.Time            // when Run began
	firstFailed  int                  // requests in a row in which an item failed for the first time in this Run
	refused      map[uint64]time.Time // by Seq: when an item last came back because of the lane
	refusals     refusals             // for good, since the last success

	// What was logged. Written by the methods in log.go.
	silenceLog   silenceLog
	deathLog     deathLog
	absurdLogged time.Time // when a wait that was too long was last logged; zero: never
	unknownKinds map[string]bool

	// Neighbours that fail. Written by neighbourFails and neighbourWorks.
	settleTrouble  trouble
	claimTrouble   trouble
	limiterTrouble trouble

	// Flush. Written by the methods in flush.go.
	flushes  []*flush  // that wait
	checking bool      // a check is in progress
	progress bool      // something was settled, or nothing was found, since the last check
	checkAt  time.Time // on a busy lane no check before

	changed bool        // Status may differ from the published snapshot
	timer   *time.Timer // rings the bell; only setTimer sets it
	timerAt time.Time   // when it fires; zero or past: it does not
	reports []report    // the last that readInbox took; their space is used again
}

func newLoop(s *Sender, ctx context.Context) *loop {
	l := &loop{
		Sender:       s,
		runCtx:       ctx,
		uncancelled:  context.WithoutCancel(ctx),
		toSettle:     new(outcomes),
		askAgain:     true,
		unknownKinds: make(map[string]bool),
		refused:      make(map[uint64]time.Time),
		timer:        time.AfterFunc(longestSleep, s.inbox.ring),
	}
	l.ctx, l.cut = context.WithCancel(l.uncancelled)
	context.AfterFunc(ctx, l.inbox.ring)
	endedCtx, end := context.WithCancel(l.uncancelled)
	end()
	l.endedCtx = endedCtx
	l.baton, l.stopBaton = context.WithCancel(l.ctx)
	return l
}

// run is the goroutine of the loop. Each turn does what is due now, sets the timer, waits for the
// bell, and takes in the reports. What a crash at each step leaves behind:
//
//   - abandonOverdue: counts only. An abandoned item stays claimed, so a restart sends it again.
//   - heedOperator: nothing; the queue keeps the pause.
//   - judgeLonely: nothing; it only decides.
//   - clearThrottles: the pause is gone once the queue has recorded that.
//   - startSettle: an outcome is on disk once its commit ends. A crash before it sends the item
//     again, under the same ID; at most maxUnsettled items, besides those in flight.
//   - offer, and the worker until it sends: a claim is memory of the queue. A crash forgets it, and
//     the item is due as before. With AtMostOnce the worker commits "sent, answer unknown" before
//     it sends: from then on a crash leaves the item among the dead.
//   - serveFlushes, flushGathered: Flush never returned nil, so it promised nothing.
//   - logLasting, logFurtherDeaths, publish, setTimer: nothing. A hold is memory only; a restart
//     finds it again.
//   - readInbox: an answer that is not settled is lost, as in startSettle. A pause is on disk with
//     the outcome that carries it; a crash before that commit forgets the pause.
func (l *loop) run() error {
	defer l.timer.Stop()
	defer l.cut()
	defer l.dismiss()
	now := l.now()
	l.started = now
	// A pause from before the restart goes on, for the loop, the workers and the limiter alike.
	if p := l.queue.Paused(); p.After(now) {
		l.silence.pause(now, p, "")
		l.silenceLog = silenceLog{told: true, again: now.Add(longPause)}
		l.gate.pause(p, time.Time{}, time.Time{})
		if l.limiter != nil {
			l.limiter.Pause(p)
		}
		l.changed = true
	}
	for l.readInbox(); !l.over(); l.readInbox() {
		now := l.now()
		l.abandonOverdue(now)
		l.heedOperator(now)
		l.judgeLonely(now)
		l.clearThrottles()
		l.startSettle(now)
		l.offer(now)
		l.serveFlushes(now)
		l.flushGathered(now)
		l.logLasting(now)
		if at := l.deathLog.next(); !now.Before(at) {
			l.logFurtherDeaths(now)
		}
		l.publish()
		l.setTimer(now)
		<-l.inbox.bell
	}
	return l.finish()
}

// offer starts a worker with the baton, if something may be due and nothing prevents it.
func (l *loop) offer(now time.Time) {
	l.judgeEnd()
	if l.stopping || l.tooLate(now) {
		l.stopBaton() // a token would come too late
		l.releasePieces()
		return
	}
	if l.byOperator() || l.clearing {
		return
	}
	due := len(l.pieces) > 0 || l.moreDue || l.askAgain || l.askDue(now)
	if !due || l.bearer != nil || len(l.flight) >= l.most() || l.unsettled >= maxUnsettled {
		return
	}
	if l.settleTrouble.on() || now.Before(l.claimTrouble.again) || now.Before(l.limiterTrouble.again) {
		return
	}
	if l.silence.on() && (l.probe != nil || now.Before(l.silence.until)) {
		// Nobody can erase the pieces here. The few seconds between refused probes may pass: there
		// the pieces get smaller, until the item that spoils them is alone.
		if l.probe == nil && (!l.silence.held || l.silence.until.Sub(now) > longestRefused) {
			l.releasePieces()
		}
		return
	}
	if l.baton.Err() != nil {
		l.baton, l.stopBaton = context.WithCancel(l.ctx)
	}
	// Tokens of a limiter are scarce: the worker peeks at the queue first, unless more is known to
	// be due.
	r := &request{
		baton:  l.baton,
		probe:  l.silence.on(),
		test:   l.prober != nil && l.silence.untested(),
		fresh:  l.silence.untested(),
		token:  l.token,
		failed: l.silence.failed,
		max:    l.learning.max(now, l.maxItems),
	}
	r.peek = !l.moreDue && len(l.pieces) == 0 && (r.test || l.limiter != nil)
	l.token = time.Time{}
	if r.test {
		l.askAgain = false
	} else if len(l.pieces) > 0 {
		r.piece, r.items = true, l.pieces[0]
		l.pieces = l.pieces[1:]
		if len(r.items) > r.max { // it was cut before the limit was learnt
			l.pieces = append([][]Item{r.items[r.max:]}, l.pieces...)
			r.items = r.items[:r.max]
		}
	} else {
		l.askAgain = false
	}
	l.give(r)
}

// askDue reports whether it is time to claim again.
func (l *loop) askDue(now time.Time) bool { return !l.askAt.IsZero() && !now.Before(l.askAt) }

// claimed takes the baton back, with what its worker got: items that are being sent now, items that
// go back, or nothing.
func (l *loop) claimed(r *request) {
	l.bearer = nil
	l.token = r.token
	if !r.asked.IsZero() {
		l.moreDue = r.moreDue()
		l.askAt = r.next
		if at := r.asked.Add(longestSleep); !l.askAt.IsZero() && l.askAt.After(at) {
			l.askAt = at // the wall clock may be set, and a suspend may pass
		}
	}
	if r.limiterErr != nil {
		l.askAgain = true // what is due was not claimed
	}
	for _, it := range r.expired {
		delete(l.refused, it.Seq)
		l.addOutcome(Outcome{Item: it, Verdict: Expired}, sent{})
	}
	stopped := r.baton.Err() != nil // then an error says nothing about the queue or the limiter
	switch {
	case r.queueErr != nil:
		l.askAgain = true
		if !stopped {
			l.neighbourFails(&l.claimTrouble, r.queueErr)
		}
	case !r.asked.IsZero():
		l.neighbourWorks(&l.claimTrouble)
	}
	switch {
	case r.limiterErr != nil:
		if !stopped {
			l.neighbourFails(&l.limiterTrouble, r.limiterErr)
		}
	case r.paced:
		l.neighbourWorks(&l.limiterTrouble)
	}
	switch {
	case r.withdrawn:
		l.rest(r.worker)
		l.release(r)
	case r.goes:
		r.slot = len(l.flight)
		l.flight = append(l.flight, r)
		l.inFlight.Store(int64(len(l.flight)))
		if l.nextAbandon.IsZero() {
			l.nextAbandon = r.deadline
		}
		if r.probe {
			l.probe = r
			l.changed = true
		}
	default:
		l.rest(r.worker)
		l.progress = true
	}
}

// release frees the items of a request that was not sent. A part of a batch that was split stays in
// pieces.
func (l *loop) release(r *request) {
	if r.piece {
		l.pieces = append([][]Item{r.items}, l.pieces...)
		return
	}
	for _, it := range r.items {
		l.addOutcome(Outcome{Item: it, Verdict: Released}, sent{})
	}
}

// releasePieces gives back the parts of batches that were split. While nothing is sent they must
// not be in hand: the owner of the items may drop or erase them at that time, and the queue then
// forgets them.
func (l *loop) releasePieces() {
	for _, items := range l.pieces {
		for _, it := range items {
			l.addOutcome(Outcome{Item: it, Verdict: Released}, sent{})
		}
	}
	l.pieces = nil
}

// removeFlight takes a request that has returned out of flight. The last request moves to its slot.
// A map instead of slots costs a drain a twentieth more CPU.
func (l *loop) removeFlight(r *request) {
	last := len(l.flight) - 1
	l.flight[r.slot] = l.flight[last]
	l.flight[r.slot].slot = r.slot
	l.flight[last] = nil
	l.flight = l.flight[:last]
	l.inFlight.Store(int64(last))
	l.rest(r.worker)
	if last == 0 {
		l.nextAbandon = time.Time{}
	}
	if r.abandoned {
		l.abandoned--
		l.changed = true
	}
}

// patience is how long after the claim a call is abandoned.
func (l *loop) patience() time.Duration {
	if l.options.AtMostOnce {
		return 2*l.options.Timeout + abandonAfter // with the record
	}
	return l.options.Timeout + abandonAfter
}

// abandonOverdue counts the calls that have not returned in time. They keep their slots and items.
// A probe that does not return has failed.
func (l *loop) abandonOverdue(now time.Time) {
	if l.nextAbandon.IsZero() || now.Before(l.nextAbandon) {
		return
	}
	l.nextAbandon = time.Time{}
	for _, r := range l.flight {
		switch {
		case r.abandoned:
		case now.Before(r.deadline):
			if l.nextAbandon.IsZero() || r.deadline.Before(l.nextAbandon) {
				l.nextAbandon = r.deadline
			}
		default:
			r.abandoned = true
			l.abandoned++
			l.stuckSince = now
			l.changed = true
			l.options.Logger.Warn("sender: the transport ignores the end of its context", "abandoned", l.abandoned, "concurrency", l.most())
			if r == l.probe {
				l.probe = nil
				l.changeSilence(now, func(s *silence) {
					err := fmt.Errorf("no answer within %v", l.options.Timeout+abandonAfter)
					s.probeFailed(now, err.Error())
					s.err = &err
				})
			}
		}
	}
}

// readInbox applies all reports, in the order in which they came.
func (l *loop) readInbox() {
	l.reports = l.inbox.takeAll(l.reports)
	for _, r := range l.reports {
		r.apply(l)
	}
	clear(l.reports)
	if l.woken.Load() {
		l.woken.Store(false)
		l.askAgain = true
	}
}

// setTimer sets the timer to the earliest time in the future that anything waits for. A time that
// has passed needs no timer: its step waits for a report. A timer that fires early does no harm:
// a timer that is set earlier stays. This saves a twentieth of the CPU of a drain.
func (l *loop) setTimer(now time.Time) {
	at := now.Add(longestSleep)
	wanted := false
	for _, t := range [...]time.Time{
		l.askAt, l.ordered.Until, l.silence.until, l.nextAbandon, l.lastStart,
		l.settleTrouble.again, l.claimTrouble.again, l.limiterTrouble.again,
		l.silenceLog.again, l.silenceLog.nextFolded(), l.deathLog.next(), l.nextCheck(), l.nextFlushGathered(), l.nextSettle(),
	} {
		if !t.IsZero() && t.After(now) { // most are zero
			wanted = true
			if t.Before(at) {
				at = t
			}
		}
	}
	if pending := l.timerAt.After(now); !wanted || pending && !l.timerAt.After(at) {
		return
	}
	wait := at.Sub(now)
	l.timerAt = now.Add(wait) // at may be of the wall clock alone, and that may be set
	l.timer.Reset(wait)
}

// finish waits up to endAfter for calls that were cancelled, releases what was not sent, and
// settles the rest. A call that has not returned by then is left alone: its item stays claimed, and
// the next sender or process sends it again. An outcome that the queue cannot record is the error
// of Run.
func (l *loop) finish() error {
	l.cut()
	patience := time.NewTimer(endAfter)
	defer patience.Stop()
	for waiting := true; waiting && (l.bearer != nil || len(l.flight) > l.abandoned); {
		select {
		case <-l.inbox.bell:
			l.readInbox()
		case <-patience.C:
			waiting = false
		}
	}
	l.releaseRefused()
	l.releasePieces()
	l.clearings, l.clearing = nil, false // the callers see that Run has ended
	l.awaitSettled()
	l.settleTrouble.again, l.settleAgain = time.Time{}, time.Time{}
	l.startSettle(l.now())
	l.awaitSettled()
	l.helpers.Wait()
	l.logFurtherDeaths(l.now())
	l.publish()
	if len(l.toSettle.list) > 0 {
		return fmt.Errorf("sender: %w", l.settleTrouble.err)
	}
	return nil
}
