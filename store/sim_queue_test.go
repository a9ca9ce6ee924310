package store_test

import (
	"context"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// watched is the lane of one process between its store and its sender: it translates the times, and
// keeps the model up to date with what the store says.
type watched struct {
	*store.Store
	l    *lane
	gone bool // the process is no more; guarded by simulation.mu
}

func (w *watched) Append(ctx context.Context, items ...sender.Item) error {
	translated := slices.Clone(items)
	for i := range translated {
		w.translate(&translated[i], w.l.s.clock.in)
	}
	return w.Store.Append(ctx, translated...)
}

func (w *watched) translate(it *sender.Item, to func(time.Time) time.Time) {
	it.Created, it.Due, it.Expires, it.FailedAt = to(it.Created), to(it.Due), to(it.Expires), to(it.FailedAt)
}

func (w *watched) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	clock := w.l.s.clock
	w.l.s.mu.Lock()
	given, paused := w.l.orders.given, !w.gone && w.l.orders.certain(clock.now())
	w.l.s.mu.Unlock()
	items, next, err := w.Store.Claim(ctx, clock.in(now), max, maxBytes)
	w.l.s.mu.Lock()
	defer w.l.s.mu.Unlock()
	if paused && len(items) > 0 && !w.gone && w.l.orders.given == given && w.l.orders.certain(clock.now()) {
		w.l.s.fault("lane %s: %d items were handed out during the pause %+v", w.l.name, len(items), w.l.orders.may)
	}
	for i := range items {
		if !w.gone {
			w.l.claimed(&items[i])
		}
		w.translate(&items[i], clock.out)
	}
	return items, clock.out(next), err
}

// claimed notes that an item was handed out.
func (l *lane) claimed(it *sender.Item) {
	e := l.byName[nameOf(it.Payload)]
	if e == nil || e.can == absent {
		l.s.fault("lane %s: %s was handed out, and its Put had failed", l.name, it.Payload)
		return
	}
	if e.can&(pending|dropped) == 0 {
		l.s.fault("%v was handed out, and it is %v", e, e.can)
	}
	e.can = pending | e.can&dropped
	e.seq = it.Seq
	e.claims++
	got := tries{it.Attempts, it.Failures}
	if !slices.Contains(e.tries, got) {
		l.s.fault("%v was handed out with %+v, recorded was %+v", e, got, e.tries)
	}
	e.tries = []tries{got}
	if early := time.Until(e.due); early > 0 {
		l.s.fault("%v was handed out %v before its next try", e, early)
	}
	if early := e.notBefore.Sub(l.s.clock.now()); early > 0 && !l.s.faults.clock {
		l.s.fault("%v was handed out %v before its NotBefore", e, early)
	}
}

func (w *watched) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	claims := w.settling(outcomes)
	clock := w.l.s.clock
	translated := slices.Clone(outcomes)
	for i := range translated {
		o := &translated[i]
		w.translate(&o.Item, clock.in)
		o.Due, o.PauseUntil = clock.in(o.Due), clock.in(o.PauseUntil)
	}
	err := w.Store.Settle(ctx, translated...)
	if err == nil {
		w.settled(outcomes, claims)
	}
	return err
}

// seen is how often an event had been claimed, and run at once, when its outcome was told.
type seen struct{ claims, runs int }

// settling notes that from now on the file may say what these outcomes say, and returns which claims
// of their events they end.
func (w *watched) settling(outcomes []sender.Outcome) []seen {
	s := w.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	claims := make([]seen, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		e := w.event(o)
		if e == nil || e.can&alive == 0 {
			continue
		}
		claims[i] = seen{e.claims, e.runs}
		e.can |= fateOf(o.Verdict)
		e.tries = append(e.tries, tries{o.Item.Attempts, o.Item.Failures})
		switch {
		case o.Verdict == sender.Delivered && e.accepted == 0:
			s.fault("%v is settled as delivered, and the destination never accepted it", e)
		case o.Verdict == sender.Dead && o.Item.LastErr == "":
			s.fault("%v dies without a reason", e)
		case o.Verdict == sender.Expired && (o.Item.Expires.IsZero() || time.Now().Before(o.Item.Expires)):
			s.fault("%v expires before its end, %v", e, o.Item.Expires)
		case o.Verdict == sender.Retry:
			s.longest = max(s.longest, time.Until(o.Due))
		}
	}
	return claims
}

// settled notes that the file says so. Its sender may be faster, and have claimed an item again.
func (w *watched) settled(outcomes []sender.Outcome, claims []seen) {
	s := w.l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range outcomes {
		o := &outcomes[i]
		if !w.gone && !o.PauseUntil.IsZero() {
			w.l.dest.recorded(w.l, o.PauseUntil)
		}
		e := w.event(o)
		if e == nil || e.claims != claims[i].claims || e.can&fateOf(o.Verdict) == 0 {
			continue
		}
		e.can = fateOf(o.Verdict) | e.can&dropped
		if o.Verdict == sender.Retry && e.runs == claims[i].runs && e.runs%2 == 0 {
			e.due = o.Due // else a RunNow, in progress or done, may have made it due
		}
		if o.Verdict != sender.Sending {
			e.tries = []tries{{o.Item.Attempts, o.Item.Failures}}
		}
	}
}

// event finds the event of an outcome; nil: this outcome is about an earlier life of it.
func (w *watched) event(o *sender.Outcome) *event {
	e := w.l.byName[nameOf(o.Item.Payload)]
	if w.gone || e == nil || e.seq != o.Item.Seq {
		return nil
	}
	return e
}

func (w *watched) Paused() time.Time { return w.l.s.clock.out(w.Store.Paused()) }

func (w *watched) Mark(ctx context.Context, now time.Time) (uint64, error) {
	return w.Store.Mark(ctx, w.l.s.clock.in(now))
}

func (w *watched) Unsent(ctx context.Context, now time.Time, mark uint64) (bool, error) {
	return w.Store.Unsent(ctx, w.l.s.clock.in(now), mark)
}

func (w *watched) Counts() sender.Counts {
	c := w.Store.Counts()
	c.PausedUntil = w.l.s.clock.out(c.PausedUntil)
	return c
}
