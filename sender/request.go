package sender

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// tokenKept is how long a token may lie unused: an older one would let more requests start in some
// window than the limiter allows.
const tokenKept = 10 * time.Millisecond

// A request is what a worker does with the baton: it obtains items and the right to send them, hands
// the request to the loop together with the baton, sends, and hands it over again with the answer.
// Between the two it is written by the worker alone, except where it says "loop".
type request struct {
	// Set by the loop before the worker has it.
	baton  context.Context // ends when the lane falls silent: then nobody waits for a token
	piece  bool            // items are given: a part of a batch that was split
	probe  bool
	peek   bool      // it is not known whether anything is due; ask before taking a token
	token  time.Time // when a token was granted that is not used yet; zero: there is none
	failed int       // requests that failed in a row, for the lane's backoff

	// Handed over with the baton, and only read from then on.
	items      []Item // to be sent; none: there will be no answer
	withdrawn  bool   // items go back unsent; there will be no answer
	expired    []Item
	asked      time.Time // when the queue was last asked, and what it said; zero: it was not
	next       time.Time
	queueErr   error // why there is no request
	limiterErr error
	paced      bool      // the limiter granted a token
	deadline   time.Time // of the answer; set if there will be one

	// Handed over with the answer.
	recordErr error     // AtMostOnce: why the items could not be recorded
	granted   time.Time // when its token was; zero: there is no limiter
	began     time.Time
	unsent    bool // the lane was paused meanwhile, its token is too old, or it could not be recorded; nothing below is set
	ended     time.Time
	errs      []error         // one for each item
	delays    []time.Duration // the backoff of each item; nil: none failed
	pause     time.Time       // the end of the pause that an answer ordered; zero: none did
	asksFor   time.Duration   // what it asked for, if that was too long and has been cut; else 0
	stopped   bool            // Run's context had ended

	// Of the loop.
	worker    worker
	slot      int  // in loop.flight
	abandoned bool // did not return in time

	call   call     // the context of the transport
	single [1]error // behind errs, when one item is sent
}

// do does one request. It has the baton when it begins.
func (l *loop) do(r *request) {
	l.obtain(r)
	r.withdrawn = len(r.items) > 0 && (r.limiterErr != nil || r.baton.Err() != nil)
	sending := len(r.items) > 0 && !r.withdrawn
	r.deadline = r.began.Add(l.options.Timeout + abandonAfter)
	if l.options.AtMostOnce {
		r.deadline = r.deadline.Add(l.options.Timeout) // of the record
	}
	l.inbox.leave(claim{r})
	if sending {
		l.deliver(r)
	}
}

// obtain gets a token and then items to spend it on, so that batches fill while tokens are scarce.
func (l *loop) obtain(r *request) {
	if r.peek && !r.piece {
		if l.claim(r, 0); r.queueErr != nil || !r.more() {
			return
		}
	}
	if !l.pace(r) {
		return
	}
	for !r.piece {
		r.items = l.claim(r, l.maxItems)
		if r.queueErr != nil || len(r.items) > 0 || !r.more() || r.baton.Err() != nil {
			break // else the queue stopped early, and wants to be asked again
		}
	}
	if len(r.items) > 0 && !l.pace(r) { // again, if the queue took its time
		return
	}
	r.began = l.now()
	r.items, r.expired = unexpired(r.items, r.began)
	if len(r.items) > 0 {
		r.granted, r.token = r.token, time.Time{}
	}
}

// pace sees to it that the request has a token that is not too old, and reports whether it has.
func (l *loop) pace(r *request) bool {
	if l.limiter == nil || !r.token.IsZero() && l.now().Sub(r.token) <= tokenKept {
		return true
	}
	r.token = time.Time{}
	if err := l.limiter.Wait(r.baton); err != nil {
		r.limiterErr = fmt.Errorf("limiter: %w", err)
		return false
	}
	r.token, r.paced = l.now(), true
	return true
}

// claim asks the queue for up to max items, and notes what it says about more.
func (l *loop) claim(r *request, max int) []Item {
	now := l.now()
	items, next, err := l.queue.Claim(r.baton, now, max, l.maxBytes)
	if err != nil {
		r.queueErr = fmt.Errorf("queue: %w", err)
		return nil
	}
	r.asked, r.next = now, next
	return items
}

// more reports whether the queue said that more is due at once.
func (r *request) more() bool { return !r.next.IsZero() && !r.next.After(r.asked) }

// unexpired parts items by whether they may still be sent.
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

// deliver sends the request and reports the answer, whatever the transport does: it may panic, and it
// may end the goroutine.
func (l *loop) deliver(r *request) {
	defer l.inbox.leave(answer{r})
	r.unsent = !l.mayBegin(r) || l.options.AtMostOnce && !l.announce(r)
	if r.unsent {
		return
	}
	returned := false
	defer func() {
		if v := recover(); !returned {
			r.failAll(crash(v))
		}
		r.ended = l.now()
		r.call.end(l.over)
		l.digest(r)
	}()
	r.call.run, r.call.deadline = l.ctx, r.began.Add(l.options.Timeout)
	l.send(&r.call, r)
	returned = true
}

// mayBegin reports whether the request may start: nothing was in its way when it began, as far as is
// known now, and it has not been kept from running for so long since that its token is too old.
func (l *loop) mayBegin(r *request) bool {
	if l.gate.shut(r.began) || l.ctx.Err() != nil {
		return false
	}
	return l.limiter == nil || l.now().Sub(r.granted) <= 2*tokenKept
}

// announce records that the items are about to be sent, before an answer can be lost, and reports
// whether the request may still start. The commit takes a while, in which the lane may fall silent,
// and requests that waited for one commit would all start at once: that is more than their tokens
// allow, so that after a slow one each waits for another.
func (l *loop) announce(r *request) bool {
	asked := l.now()
	list := make([]Outcome, len(r.items))
	for i, it := range r.items {
		it.FailedAt, it.LastErr = asked, answerUnknown
		list[i] = Outcome{Item: it, Verdict: Sending}
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.options.Timeout)
	defer cancel()
	if err := l.queue.Settle(ctx, list...); err != nil {
		r.recordErr = fmt.Errorf("queue: record %d items before they are sent: %w", len(list), err)
		return false
	}
	if l.limiter != nil && l.now().Sub(asked) > tokenKept {
		if l.limiter.Wait(r.baton) != nil {
			return false // the next request hears of it from the limiter, and says so
		}
	}
	r.began = l.now()
	r.granted = r.began
	return l.mayBegin(r) && !slices.ContainsFunc(r.items, func(it Item) bool { return it.expired(r.began) })
}

// crash is the error of a call that did not return. v is what it panicked with; nil: it ended its
// goroutine.
func crash(v any) error {
	if v == nil {
		return errors.New("sender: the transport ended its goroutine")
	}
	return fmt.Errorf("sender: the transport panicked: %T", v) // the value itself may hold a payload
}

// failAll gives every item the same answer.
func (r *request) failAll(err error) {
	r.errs = make([]error, len(r.items))
	for i := range r.errs {
		r.errs[i] = err
	}
}

// digest draws from an answer what must be known at once, above all a pause: the other workers learn
// of it here, before the loop does. It calls the user's Backoff, so that the loop need not.
func (l *loop) digest(r *request) {
	r.stopped = l.ctx.Err() != nil
	if len(r.errs) != len(r.items) {
		r.failAll(fmt.Errorf("sender: the transport returned %d verdicts for %d items", len(r.errs), len(r.items)))
	}
	var longest time.Duration
	var order error // the throttled error with the longest wait
	splits := false
	for i, err := range r.errs {
		if err == nil {
			continue
		}
		err = sound(err)
		r.errs[i] = err
		m, wait := read(err)
		splits = splits || m == split
		if m != throttled || r.stopped && errors.Is(err, context.Canceled) {
			continue
		}
		if wait <= 0 {
			wait = laneBackoff(r.failed + 1)
		}
		if order == nil || wait > longest {
			longest, order = wait, err
		}
	}
	if order != nil {
		if splits {
			r.failAll(order) // refused as a whole; the pause comes first, and then the size is asked again
		}
		l.obey(r, longest)
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

// obey lets no request start before a wait that the destination ordered is over.
func (l *loop) obey(r *request, wait time.Duration) {
	if wait > longestPause {
		r.asksFor, wait = wait, longestPause
	}
	r.pause = r.ended.Add(wait)
	newEpisode := l.gate.pause(r.pause, r.began, r.ended)
	if l.limiter != nil {
		l.limiter.Pause(r.pause)
		if newEpisode {
			l.limiter.Slow()
		}
	}
}

// backoff is the user's curve, or the default if that one panics.
func (l *loop) backoff(failures int) (d time.Duration) {
	defer func() {
		if v := recover(); v != nil {
			d = defaultBackoff(failures)
			l.curveBroken.Do(func() {
				l.options.Logger.Error("sender: Backoff panicked, the default is used instead", "panic", fmt.Sprintf("%T", v))
			})
		}
	}()
	return l.options.Backoff(failures)
}

// gate is how a worker that is told to pause tells the others at once. Its mutex is a leaf.
type gate struct {
	mu     sync.Mutex
	until  time.Time // no request starts before
	slowed time.Time // when the rate was last lowered; zero: never
}

// shut reports whether no request may start now.
func (g *gate) shut(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.until)
}

// pause shuts the gate until then, or longer if it was shut longer. It reports whether a request that
// began at the given time is the first of its episode to be throttled: one that began before the rate
// was last lowered says nothing about the lower rate.
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
