package sender

import (
	"fmt"
	"time"
)

// maxUnsettled bounds the outcomes that the queue has not recorded yet, and with them what a crash
// sends twice: no new request starts while there are so many.
const maxUnsettled = 1024

// On a busy lane outcomes wait for others to be recorded with: one recorder for each made a drain cost half
// as much again.
const (
	recordEvery  = 250 * time.Microsecond
	recordAtOnce = 64 // so many wait no longer
	mostSpare    = 16 // the memory of so many is kept
)

const pressEvery = 5 * time.Millisecond

// storageBackoff is how long the sender waits after the queue or the limiter failed.
var storageBackoff = Exponential(time.Second, 30*time.Second)

// outcomes are recorded by one call of Settle.
type outcomes struct {
	list  []Outcome
	took  []time.Duration // of the request of each; only if somebody is told
	retry bool            // the first call after one that failed
	err   error           // what Settle returned
}

// add appends the outcomes of c.
func (b *outcomes) add(c *outcomes) {
	b.list, b.took = append(b.list, c.list...), append(b.took, c.took...)
}

// reset leaves nothing but the space.
func (b *outcomes) reset() {
	clear(b.list)
	b.list, b.took = b.list[:0], b.took[:0]
}

// note keeps an outcome until the next recorder begins. took is 0 for what was not sent.
func (l *loop) note(o Outcome, took time.Duration) {
	l.noted.list = append(l.noted.list, o)
	if l.options.OnOutcome != nil {
		l.noted.took = append(l.noted.took, took)
	}
	l.unsettled++
}

// settle has the noted outcomes recorded beside the loop, so that a slow disk does not stop it. After a
// failure all outcomes wait for one call together; until that succeeds nothing is sent.
func (l *loop) settle(now time.Time) {
	n := len(l.noted.list)
	if n == 0 || n < recordAtOnce && (l.more || l.busy()) && now.Before(l.recordAgain) {
		return
	}
	retry := l.storage.on()
	if retry && (l.settling > 0 || now.Before(l.storage.again)) {
		return
	}
	b := l.noted
	b.retry = retry
	l.noted = new(outcomes)
	if last := len(l.spare) - 1; last >= 0 {
		l.noted, l.spare = l.spare[last], l.spare[:last]
	}
	l.settling++
	l.recordAgain = now.Add(recordEvery)
	l.pressAgain = time.Time{}
	go l.record(b)
}

// nextRecord returns when the next recorder may begin; zero: there is nothing to record.
func (l *loop) nextRecord() time.Time {
	if len(l.noted.list) == 0 {
		return time.Time{}
	}
	return l.recordAgain
}

// record calls Settle, tells OnOutcome, and reports back.
func (l *loop) record(b *outcomes) {
	defer l.inbox.leave(b)
	b.err = l.queue.Settle(l.lasting, b.list...)
	if b.err != nil || l.options.OnOutcome == nil {
		return
	}
	for i, o := range b.list {
		l.tell(o, b.took[i])
	}
}

// hurry reports whether somebody waits for a Settle in progress, so that the queue is to be told not to wait
// for company, and when: while more outcomes are on their way no oftener than Flush looks. Whether the wait has
// begun cannot be told, so that it is repeated until nothing is in a hurry any more.
func (l *loop) hurry() (at time.Time, ok bool) {
	switch {
	case l.settling == 0 || l.pressing || l.gatherer == nil:
		return time.Time{}, false
	case l.unsettled >= maxUnsettled || l.ctx.Err() != nil:
		return l.pressAgain, true
	case len(l.flushes) > 0 && l.busy():
		return latest(l.pressAgain, l.pressed.Add(checkEvery)), true
	}
	return l.pressAgain, len(l.flushes) > 0
}

// press tells the queue not to wait for company.
func (l *loop) press(now time.Time) {
	if at, ok := l.hurry(); !ok || now.Before(at) {
		return
	}
	l.pressing = true
	l.pressed = now
	l.helpers.Go(func() {
		l.gatherer.FlushGathered()
		l.inbox.leave(pressed{})
	})
}

// relax notes that the queue was told.
func (l *loop) relax(now time.Time) {
	l.pressing = false
	l.pressAgain = now.Add(pressEvery)
}

// nextPress returns when the queue is to be told again; zero: not before something happens.
func (l *loop) nextPress() time.Time {
	at, ok := l.hurry()
	if !ok {
		return time.Time{}
	}
	return at
}

// awaitSettled waits until no Settle is in progress.
func (l *loop) awaitSettled() {
	again := time.NewTicker(pressEvery)
	defer again.Stop()
	for l.settling > 0 {
		l.press(l.now())
		select {
		case <-l.inbox.bell:
			for _, r := range l.inbox.empty(nil) {
				switch r.(type) {
				case *outcomes, pressed: // what a worker reports now comes too late
					r.take(l)
				}
			}
		case <-again.C:
		}
	}
}

// tell calls OnOutcome.
func (l *loop) tell(o Outcome, took time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			l.listenerBroken.Do(func() {
				l.options.Logger.Error("sender: OnOutcome panicked; further panics are not logged", "panic", fmt.Sprintf("%T", v))
			})
		}
	}()
	l.options.OnOutcome(o, took)
}

// recorded takes the result of one Settle.
func (l *loop) recorded(b *outcomes) {
	l.settling--
	if b.err != nil {
		b.add(l.noted)
		l.noted = b
		if l.storage.on() && !b.retry {
			return // it began before the failure that is known
		}
		l.fails(&l.storage, fmt.Errorf("queue: settle %d outcomes: %w", len(b.list), b.err))
		return
	}
	l.unsettled -= len(b.list)
	if b.retry {
		l.works(&l.storage)
	}
	if len(l.spare) < mostSpare && cap(b.list) <= 2*maxUnsettled { // which append may make of half as many
		b.reset()
		l.spare = append(l.spare, b)
	}
	l.news = true // keys are free, retries have their time
	l.moved = true
}

// trouble is a neighbour that fails: the queue, the limiter. The zero trouble is none. Owned by the
// loop.
type trouble struct {
	err   error     // the latest
	since time.Time // when it began; zero: there is none
	again time.Time // when it is tried again
	count int       // failures in a row
}

func (t *trouble) on() bool { return !t.since.IsZero() }

// fails notes a failure and silences the lane; the first of a row is logged.
func (l *loop) fails(t *trouble, err error) {
	now := l.now()
	if !t.on() {
		t.since = now
		l.options.Logger.Error("sender: nothing is sent until this is mended", "err", err)
	}
	t.count++
	t.err = err
	t.again = now.Add(storageBackoff(t.count))
	l.changed = true
	l.stopBaton()
}

// works notes that a neighbour works, and logs it if it did not before.
func (l *loop) works(t *trouble) {
	if !t.on() {
		return
	}
	l.options.Logger.Info("sender: mended, sending goes on", "failures", t.count, "after", l.now().Sub(t.since), "last", t.err)
	*t = trouble{}
	l.changed = true
}
