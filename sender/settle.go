package sender

import (
	"fmt"
	"strings"
	"time"
)

// maxUnsettled bounds the outcomes that the queue has not recorded yet: no new request starts while
// there are so many. A crash redelivers no more than these and the requests in flight.
const maxUnsettled = 1024

// On a busy lane an outcome waits a moment, so that several share a call of Settle. One call for
// each outcome costs a drain half as much CPU again.
const (
	settleEvery  = 250 * time.Microsecond // how long an outcome waits at most
	settleAtOnce = 64                     // this many outcomes do not wait
)

// maxSpare bounds the outcomes that are kept empty, to be used again. This saves a quarter of the
// CPU of a drain, and two thirds if the transport takes batches.
const maxSpare = 16

// flushGatheredEvery is the interval of calls of FlushGathered while a Settle is waited for.
const flushGatheredEvery = 5 * time.Millisecond

// storageBackoff is how long the sender waits after the queue or the limiter failed.
var storageBackoff = Exponential(time.Second, 30*time.Second)

// outcomes are the arguments and the result of one call of Settle. The loop owns them until
// startSettle hands them to runSettle; they come back as a report.
//
//   - After an error they are merged into toSettle, and the next call repeats all of them. A queue
//     ignores an outcome that it has recorded before.
//   - A crash before the commit of Settle loses all of them: each item is sent again. A crash after
//     it loses none, but OnOutcome may not hear of them.
type outcomes struct {
	list  []Outcome
	retry bool  // the first call after one that failed
	err   error // what Settle returned
}

// add appends the outcomes of c.
func (b *outcomes) add(c *outcomes) { b.list = append(b.list, c.list...) }

// reset removes the outcomes and keeps their space.
func (b *outcomes) reset() {
	clear(b.list)
	b.list = b.list[:0]
}

// addOutcome keeps an outcome for the next Settle. by is the request that carried the item.
func (l *loop) addOutcome(o Outcome, by sent) {
	o.Request, o.Started, o.Took = by.number, by.began, by.took
	l.toSettle.list = append(l.toSettle.list, o)
	l.unsettled++
}

// startSettle starts a Settle of the outcomes, unless they may wait. It runs beside the loop, so
// that a slow disk does not stop the loop. Several may run at once, for different items. After a
// failure only one call runs at a time, with all outcomes; until it succeeds nothing is sent.
func (l *loop) startSettle(now time.Time) {
	if l.clearing || len(l.clearings) > 0 {
		return
	}
	n := len(l.toSettle.list)
	if n == 0 || n < settleAtOnce && (l.moreDue || l.busy()) && now.Before(l.settleAgain) {
		return
	}
	retry := l.settleTrouble.on()
	if retry && (l.settling > 0 || now.Before(l.settleTrouble.again)) {
		return
	}
	b := l.toSettle
	b.retry = retry
	l.toSettle = new(outcomes)
	if last := len(l.spare) - 1; last >= 0 {
		l.toSettle, l.spare = l.spare[last], l.spare[:last]
	}
	l.settling++
	l.recording.Add(1)
	l.settleAgain = now.Add(settleEvery)
	l.flushGatheredAgain = time.Time{}
	go l.runSettle(b)
}

// nextSettle returns when the next Settle may begin; zero: there is nothing to record.
func (l *loop) nextSettle() time.Time {
	if len(l.toSettle.list) == 0 {
		return time.Time{}
	}
	return l.settleAgain
}

// runSettle calls Settle and whoever hears of outcomes, and reports back. It has a goroutine of its
// own.
func (l *loop) runSettle(b *outcomes) {
	defer l.inbox.leave(b)
	b.err = l.queue.Settle(l.uncancelled, b.list...)
	if b.err != nil {
		return
	}
	if l.recording.Add(-1); l.heard() {
		l.inbox.ring() // a clearing need not wait for those that hear
		l.tell(b.list)
	}
}

// flushGatheredAt returns when to call FlushGathered, and whether to call it at all. A call is
// needed while a Settle is in progress that Flush, the end of Run or maxUnsettled waits for. Settle
// does not say when it begins to gather, so calls repeat until nothing waits. While more outcomes
// are on their way, they come no more often than checks of Flush.
func (l *loop) flushGatheredAt() (at time.Time, ok bool) {
	switch {
	case l.settling == 0 || l.flushingGathered || l.gatherer == nil:
		return time.Time{}, false
	case l.unsettled >= maxUnsettled || l.stopping || len(l.clearings) > 0:
		return l.flushGatheredAgain, true
	case len(l.flushes) > 0 && l.busy():
		return latest(l.flushGatheredAgain, l.gatheredFlushedAt.Add(checkEvery)), true
	}
	return l.flushGatheredAgain, len(l.flushes) > 0
}

// flushGathered has the queue commit what it gathers, if something waits for it.
func (l *loop) flushGathered(now time.Time) {
	if at, ok := l.flushGatheredAt(); !ok || now.Before(at) {
		return
	}
	l.flushingGathered = true
	l.gatheredFlushedAt = now
	l.helpers.Go(func() {
		l.gatherer.FlushGathered()
		l.inbox.leave(gatheredFlushed{})
	})
}

// gatheredFlushed takes in that a call of FlushGathered has returned.
func (l *loop) gatheredFlushed(now time.Time) {
	l.flushingGathered = false
	l.flushGatheredAgain = now.Add(flushGatheredEvery)
}

// nextFlushGathered returns when to call FlushGathered; zero: not before something happens.
func (l *loop) nextFlushGathered() time.Time {
	at, ok := l.flushGatheredAt()
	if !ok {
		return time.Time{}
	}
	return at
}

// awaitSettled waits until no Settle is in progress.
func (l *loop) awaitSettled() {
	again := time.NewTicker(flushGatheredEvery)
	defer again.Stop()
	for l.settling > 0 {
		l.flushGathered(l.now())
		select {
		case <-l.inbox.bell:
			for _, r := range l.inbox.takeAll(nil) {
				switch r.(type) {
				case *outcomes, gatheredFlushed: // a worker's report comes too late now
					r.apply(l)
				}
			}
		case <-again.C:
		}
	}
}

// settled takes in the result of one Settle.
func (l *loop) settled(b *outcomes) {
	l.settling--
	if b.err != nil {
		l.recording.Add(-1) // only now may a clearing take the pauses out of them
		b.add(l.toSettle)
		l.toSettle = b
		if l.settleTrouble.on() && !b.retry {
			return // it began before the failure that is being retried
		}
		l.neighbourFails(&l.settleTrouble, queueError(fmt.Sprintf("settle %d outcomes", len(b.list)), b.err))
		return
	}
	l.unsettled -= len(b.list)
	l.logDeaths(b.list)
	if b.retry {
		l.neighbourWorks(&l.settleTrouble)
	}
	if len(l.spare) < maxSpare && cap(b.list) <= 2*maxUnsettled { // append doubles the space
		b.reset()
		l.spare = append(l.spare, b)
	}
	l.askAgain = true // a key may be free, a retry may be due
	l.progress = true
}

// queueError names the operation that failed, and who failed. A [StoreError] names them itself, and
// the place: it learns what the sender knows better.
func queueError(op string, err error) error {
	if at, ok := err.(*StoreError); ok {
		who, _, _ := strings.Cut(at.Op, ":")
		return &StoreError{Op: who + ": " + op, Place: at.Place, Err: at.Err}
	}
	return fmt.Errorf("queue: %s: %w", op, err)
}

// limiterError names who failed, unless the error does.
func limiterError(err error) error {
	if strings.Contains(err.Error(), "limiter: ") {
		return err
	}
	return fmt.Errorf("limiter: %w", err)
}

// trouble says that a neighbour fails: Settle, Claim or the limiter. The zero trouble is none. The
// loop owns it.
type trouble struct {
	err   error     // the latest
	since time.Time // when it began; zero: there is none
	again time.Time // when the next try begins
	count int       // failures in a row
	told  time.Time // when it was last logged
}

func (t *trouble) on() bool { return !t.since.IsZero() }

// neighbourFails takes in a failure and calls the baton back. It logs the first failure in a row,
// and every hour that it lasts.
func (l *loop) neighbourFails(t *trouble, err error) {
	now := l.now()
	if !t.on() {
		t.since, t.told = now, now
		l.options.Logger.Error("sender: nothing is sent until this works again", "err", err)
	} else if now.Sub(t.told) >= repeatLog {
		t.told = now
		l.options.Logger.Error("sender: still nothing is sent", "failures", t.count, "for", now.Sub(t.since), "err", err)
	}
	t.count++
	t.err = err
	t.again = now.Add(storageBackoff(t.count))
	l.changed = true
	l.stopBaton()
}

// neighbourWorks takes in that a neighbour works, and logs it if it did not before.
func (l *loop) neighbourWorks(t *trouble) {
	if !t.on() {
		return
	}
	l.options.Logger.Info("sender: working again, sending goes on", "failures", t.count, "after", l.now().Sub(t.since), "last", t.err)
	*t = trouble{}
	l.changed = true
}
