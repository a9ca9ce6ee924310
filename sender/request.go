package sender

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// tokenKept is how long a token may lie unused. With an older one more requests could start in some
// window than the limiter allows.
const tokenKept = 10 * time.Millisecond

// A request is what a worker does with the baton. It obtains a token and items (obtain), reports
// them together with the baton (claim), sends them (deliver), and reports the answer (answer).
//
//   - The fields have one writer at a time: the loop, then the worker until it reports the claim,
//     then the worker until it reports the answer. The mutex of the inbox orders these accesses.
//   - After the claim the loop reads only what was handed over with it, and writes only slot and
//     abandoned.
//   - Each request that sends reports exactly one answer, also after a panic or a runtime.Goexit.
//   - Items are held from Claim until an outcome of each is settled.
type request struct {
	// Set by the loop before the worker has the request.
	baton  context.Context // ends when the lane falls silent: then no worker waits for a token
	piece  bool            // items are given: a part of a batch that was split
	probe  bool            // the one request during a silence
	test   bool            // it asks the Prober, and sends no items
	fresh  bool            // it may use no idle connection
	peek   bool            // nothing may be due: ask the queue before taking a token
	token  time.Time       // when an unused token was granted; zero: there is none
	failed int             // requests that failed in a row, for the lane's backoff
	max    int             // items that it may carry

	// Written by the worker while it has the baton, and only read from then on.
	items      []Item    // to be sent
	goes       bool      // it is made now, and there will be an answer
	withdrawn  bool      // items go back unsent
	expired    []Item    // claimed too late to be sent
	asked      time.Time // when the queue was last asked; zero: it was not
	next       time.Time // what the queue said then
	queueErr   error     // why there is no request
	limiterErr error     // why there is no request
	paced      bool      // the limiter granted a token
	deadline   time.Time // after which the loop abandons the call

	// Written by the worker before it reports the answer.
	granted   time.Time // when the token was granted; zero: there is no limiter
	began     time.Time // when the request began
	number    uint64    // of those that were made, from 1
	recordErr error     // AtMostOnce: why the items could not be recorded
	unsent    bool      // the request was not made (see mayBegin); nothing below is set
	ended     time.Time
	errs      []error         // one for each item; of a test, one
	delays    []time.Duration // the backoff of each item; nil: none failed
	pause     time.Time       // the end of the pause that an answer ordered; zero: none did
	asksFor   time.Duration   // the longest wait that an answer asked for, obeyed or not
	stopped   bool            // calls had been cut off

	// Used by the worker during the call.
	call   call     // the context that the transport gets
	single [1]error // the space of errs, if one item is sent; saves one allocation of two

	// Owned by the loop.
	worker    worker // that does the request
	slot      int    // its index in loop.flight
	abandoned bool   // did not return in time
}

// sent is what an outcome tells of the request that carried its item. The zero sent: there was
// none.
type sent struct {
	number uint64
	began  time.Time
	took   time.Duration
}

// serve does one request, in the goroutine of a worker. It has the baton when it begins, and
// reports the claim before it sends, so that the next worker can start.
func (l *loop) serve(r *request) {
	l.obtain(r)
	r.withdrawn = len(r.items) > 0 && (r.limiterErr != nil || r.baton.Err() != nil)
	r.goes = !r.withdrawn && !r.began.IsZero() && (len(r.items) > 0 || r.test)
	r.deadline = r.began.Add(l.patience())
	l.inbox.leave(claim{r})
	if r.goes {
		l.deliver(r)
	}
}

// obtain gets a token and then items to spend it on, so that batches fill while tokens are scarce.
// A crash here changes nothing on disk: a claim is memory of the queue.
func (l *loop) obtain(r *request) {
	if r.peek {
		if l.claim(r, 0); r.queueErr != nil || !r.moreDue() {
			return
		}
	}
	if !l.takeToken(r) {
		return
	}
	if r.test {
		r.began = l.now()
		r.granted, r.token = r.token, time.Time{}
		return
	}
	for !r.piece {
		r.items = l.claim(r, r.max)
		if r.queueErr != nil || len(r.items) > 0 || !r.moreDue() || r.baton.Err() != nil {
			break // else the queue stopped early and wants to be asked again
		}
	}
	if len(r.items) > 0 && !l.takeToken(r) { // again, if Claim took longer than tokenKept
		return
	}
	r.began = l.now()
	r.items, r.expired = unexpired(r.items, r.began)
	if len(r.items) > 0 {
		r.granted, r.token = r.token, time.Time{}
	}
}

// takeToken waits for a token, unless the request has one that is fresh enough. It reports whether
// the request has one.
func (l *loop) takeToken(r *request) bool {
	if l.limiter == nil || !r.token.IsZero() && l.now().Sub(r.token) <= tokenKept {
		return true
	}
	r.token = time.Time{}
	l.waiting.Store(true)
	err := l.limiter.Wait(r.baton)
	l.waiting.Store(false)
	if err != nil {
		r.limiterErr = limiterError(err)
		return false
	}
	r.token, r.paced = l.now(), true
	return true
}

// claim asks the queue for up to max items, and keeps what it says about more.
func (l *loop) claim(r *request, max int) []Item {
	now := l.now()
	items, next, err := l.queue.Claim(r.baton, now, max, l.maxBytes)
	if err != nil {
		r.queueErr = queueError("claim", err)
		return nil
	}
	r.asked, r.next = now, next
	return items
}

// moreDue reports whether the queue said that more is due at once.
func (r *request) moreDue() bool { return !r.next.IsZero() && !r.next.After(r.asked) }

// unexpired separates the items that may still be sent from the expired ones.
func unexpired(items []Item, now time.Time) (good, expired []Item) {
	if !slices.ContainsFunc(items, func(it Item) bool { return it.expired(now) }) {
		return items, nil
	}
	for _, it := range items {
		if it.expired(now) {
			expired = append(expired, it)
		} else {
			good = append(good, it)
		}
	}
	return good, expired
}

func (it *Item) expired(now time.Time) bool { return !it.Expires.IsZero() && !now.Before(it.Expires) }

// deliver sends the request and reports the answer, also if the transport panics or ends the
// goroutine. A crash before the answer is settled sends the items again; with AtMostOnce
// markSending has committed, and they stay among the dead.
func (l *loop) deliver(r *request) {
	defer l.inbox.leave(answer{r})
	r.unsent = !l.mayBegin(r) || l.options.AtMostOnce && !r.test && !l.markSending(r)
	if r.unsent {
		return
	}
	returned := false
	defer func() {
		if v := recover(); !returned {
			r.failAll(panicError(v))
			l.transportBroken.Do(func() { l.logBroken(r) })
		}
		r.ended = l.now()
		r.call.end(l.endedCtx)
		l.classify(r)
	}()
	r.number = l.requests.Add(1)
	r.call.run, r.call.deadline = l.ctx, r.began.Add(l.options.Timeout)
	if r.fresh && l.idleCloser != nil {
		l.idleCloser.CloseIdleConnections()
	}
	if r.test {
		r.single[0] = l.prober.Probe(&r.call)
		r.errs = r.single[:]
	} else {
		l.send(&r.call, r)
	}
	returned = true
}

// mayBegin reports whether the request may start: the operator has not paused the lane, no pause
// that is known by now covers the time when it began, there is time to finish it before Run ends,
// and the token is not too old. A token grows old when the process stands still.
func (l *loop) mayBegin(r *request) bool {
	if l.gate.shut(r.began) || l.ctx.Err() != nil {
		return false
	}
	if _, paused := l.pausedByOperator(); paused {
		return false
	}
	return l.limiter == nil || l.now().Sub(r.granted) <= 2*tokenKept
}

// markSending records the items as Sending before they are sent, and reports whether the request
// may still start. From the commit on, a crash leaves the items among the dead. Until then it
// leaves them pending.
//
// The lane may fall silent during the commit. Requests that share a slow commit would start
// together, faster than the limiter allows: so after one each request waits for another token.
func (l *loop) markSending(r *request) bool {
	asked := l.now()
	list := make([]Outcome, len(r.items))
	for i, it := range r.items {
		it.FailedAt, it.LastErr = asked, answerUnknown
		list[i] = Outcome{Item: it, Verdict: Sending}
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.options.Timeout)
	defer cancel()
	if err := l.queue.Settle(ctx, list...); err != nil {
		r.recordErr = queueError(fmt.Sprintf("record %d items before they are sent", len(list)), err)
		return false
	}
	if l.limiter != nil && l.now().Sub(asked) > tokenKept {
		if l.limiter.Wait(r.baton) != nil {
			return false // the next request meets the same error, and reports it
		}
	}
	r.began = l.now()
	r.granted = r.began
	return l.mayBegin(r) && !slices.ContainsFunc(r.items, func(it Item) bool { return it.expired(r.began) })
}

// panicError is the error of a call that did not return. v is the value of its panic; nil: the call
// ended its goroutine.
func panicError(v any) error {
	if v == nil {
		return errors.New("sender: the transport ended its goroutine")
	}
	return fmt.Errorf("sender: the transport panicked: %T", v) // without the value: it may hold a payload
}

// logBroken logs a call that did not return, with the stack. It runs in the deferred
// function that found out, so that the place is still on the stack.
func (l *loop) logBroken(r *request) {
	log := l.options.Logger
	if len(r.items) > 0 {
		log = log.With("kind", r.items[0].Kind, "id", r.items[0].ID)
	}
	log.Error("sender: a call of the transport did not return; further such calls are not logged", "err", r.errs[0], "stack", stack())
}

// stack returns the functions and lines of the calling goroutine, innermost first. Unlike
// debug.Stack it leaves out arguments, which may be secret.
func stack() string {
	pcs := make([]uintptr, 64) // of a deeper stack the outermost are left out
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var b strings.Builder
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		fmt.Fprintf(&b, "%s %s:%d\n", f.Function, f.File, f.Line)
	}
	return b.String()
}

// answers returns how many answers there are to be.
func (r *request) answers() int {
	if r.test {
		return 1
	}
	return len(r.items)
}

// failAll gives every item the same answer.
func (r *request) failAll(err error) {
	r.errs = make([]error, r.answers())
	for i := range r.errs {
		r.errs[i] = err
	}
}

// classify completes the answer in the worker: one error for each item, each safe to read, a pause,
// and the delays. The other workers learn of a pause here, before the loop does. The user's Backoff
// runs here, so that it cannot hold up the loop.
func (l *loop) classify(r *request) {
	r.stopped = l.ctx.Err() != nil
	if len(r.errs) != r.answers() {
		r.failAll(fmt.Errorf("sender: the transport returned %d verdicts for %d items", len(r.errs), len(r.items)))
	}
	var longest time.Duration
	var order error // the throttled error with the longest wait
	splits := false
	for i, err := range r.errs {
		if err == nil {
			continue
		}
		err = readable(err)
		r.errs[i] = err
		m, wait := Classify(err)
		if asked, d := asks(err); asked != MarkLater {
			r.asksFor = max(r.asksFor, d)
		}
		splits = splits || m == MarkSplit
		if m != MarkThrottled || r.stopped && errors.Is(err, context.Canceled) {
			continue
		}
		if wait == 0 {
			wait = laneBackoff(r.failed + 1)
		}
		if order == nil || wait > longest {
			longest, order = wait, err
		}
	}
	if order != nil {
		if splits {
			r.failAll(order) // refused as a whole: the lane pauses first, and splits if the next answer says so
		}
		l.applyPause(r, longest)
	}
	if r.test {
		return
	}
	for i, err := range r.errs {
		if err == nil {
			continue
		}
		if r.delays == nil {
			r.delays = make([]time.Duration, len(r.items))
		}
		r.delays[i] = l.backoff(r.items[i].Failures + 1)
	}
}

// applyPause lets no request start before the wait is over.
func (l *loop) applyPause(r *request, wait time.Duration) {
	r.pause = r.ended.Add(wait)
	newEpisode := l.gate.pause(r.pause, r.began, r.ended)
	if l.limiter != nil {
		l.limiter.Pause(r.pause)
		if newEpisode {
			l.limiter.Slow()
		}
	}
}

// backoff returns the delay of the user's curve, or of the default curve if the user's panics.
func (l *loop) backoff(failures int) (d time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			d = defaultBackoff(failures)
			l.curveBroken.Do(func() {
				l.options.Logger.Error("sender: Backoff panicked, the default is used instead", "panic", fmt.Sprintf("%T", v), "stack", stack())
			})
		}
	}()
	return l.options.Backoff(failures)
}

// gate tells all workers of a pause at once, before the loop knows. Its mutex is a leaf: nothing
// else is locked or called while it is held.
type gate struct {
	mu     sync.Mutex
	until  time.Time // no request starts before
	last   time.Time // no request starts from then on; zero: no such time
	slowed time.Time // when the rate was last lowered; zero: never
}

// shut reports whether no request may start now.
func (g *gate) shut(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.until) || !g.last.IsZero() && !now.Before(g.last)
}

// closeFrom lets no request start from last on, because the end of Run would cut it off.
func (g *gate) closeFrom(last time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = last
}

// pause shuts the gate until the given time; it never opens an earlier one sooner. It reports
// whether the throttled request starts a new episode, in which the rate is lowered once. A request
// that began before the rate was last lowered says nothing about the lower rate.
func (g *gate) pause(until, began, now time.Time) (newEpisode bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = latest(g.until, until)
	if !g.slowed.IsZero() && !began.After(g.slowed) {
		return false
	}
	g.slowed = now
	return true
}
