package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// What the people who run a lane do to it, and what the model knows of that.

// orders are the pauses of an operator that the file may have, the zero Pause among them. Guarded by
// simulation.mu.
type orders struct {
	may   []sender.Pause
	given int // how many operations began or ended
}

// certain reports whether a pause is in force for certain, by the clock of the machine.
func (o *orders) certain(now time.Time) bool {
	return len(o.may) > 0 && !slices.ContainsFunc(o.may, func(p sender.Pause) bool { return !p.On(now) })
}

// learnsOrder compares the pause that a new process finds with those that there may be. s.mu is held.
func (l *lane) learnsOrder() {
	p := l.w.Store.OperatorPause()
	if len(l.orders.may) == 0 {
		l.orders.may = []sender.Pause{{}}
	}
	i := slices.IndexFunc(l.orders.may, func(m sender.Pause) bool {
		return m.By == p.By && m.Reason == p.Reason && m.Until.Equal(p.Until) && m.Since.IsZero() == p.Since.IsZero()
	})
	if i < 0 {
		l.s.fault("lane %s: the file has the pause %+v, ordered were %+v", l.name, p, l.orders.may)
		return
	}
	l.orders.may = []sender.Pause{l.orders.may[i]}
	l.orders.given++
}

// errOver: a pause would be over before the disk was well.
var errOver = errors.New("the pause is over")

// order gives an order, and repeats it until it is certain.
func (l *lane) order(p sender.Pause, give func() error) {
	s := l.s
	s.note("lane %s: pause %+v", l.name, p)
	s.mu.Lock()
	l.orders.may = append(l.orders.may, p)
	l.orders.given++
	s.mu.Unlock()
	err := s.until(give)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.orders.given++; err == errOver {
		return // it may be in the file, or not
	} else if err != nil {
		s.fault("lane %s: the order %+v: %v", l.name, p, err)
		return
	}
	l.orders.may = []sender.Pause{p}
}

func (l *lane) pause() {
	s := l.s
	now := s.clock.now().Round(0)
	s.files++ // any number that was not there before
	p := sender.Pause{Since: now, By: fmt.Sprint("operator ", s.files), Reason: "nightly load"}
	if s.rng.IntN(3) > 0 {
		p.Until = now.Add(time.Duration(1+s.rng.IntN(60)) * time.Minute / 30)
	}
	l.order(p, func() error {
		if err := l.w.Store.Pause(s.t.Context(), p); p.Until.IsZero() || p.Until.After(s.clock.now().Round(0)) {
			return err
		}
		return errOver
	})
}

func (l *lane) resume() {
	l.order(sender.Pause{}, func() error { return l.w.Store.Resume(l.s.t.Context()) })
}

// clearThrottle breaks what the destination ordered, on purpose.
func (l *lane) clearThrottle() {
	s := l.s
	s.note("lane %s: clear its throttle", l.name)
	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.dest.orders = slices.DeleteFunc(l.dest.orders, func(o *order) bool { return o.l == l })
	}
	forget()
	if err := s.until(func() error { return l.w.Store.ClearThrottle(s.t.Context()) }); err != nil {
		s.t.Errorf("clear throttle: %v", err)
	}
	forget() // what was ordered meanwhile may have been cleared too
}

func (l *lane) runNow() {
	e, it := l.choose(l.box.Pending(), alive)
	if e == nil {
		return
	}
	s := l.s
	s.note("lane %s: run %v now", l.name, e)
	s.mu.Lock()
	due, notBefore, claims := e.due, e.notBefore, e.claims
	e.due, e.notBefore = time.Time{}, time.Time{}
	e.runs++
	s.mu.Unlock()
	n, again := 0, false
	err := s.until(func() (err error) {
		n, err = l.w.Store.RunNow(s.t.Context(), it)
		again = again || err != nil
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	e.runs++
	if err != nil {
		s.fault("run now: %v", err)
	}
	if n == 0 && !again && e.claims == claims && e.due.IsZero() {
		e.due, e.notBefore = due, notBefore
	}
}

// edit changes a dead event, or one that was dead until a moment ago.
func (l *lane) edit() {
	e, it := l.choose(l.box.Dead(), dead)
	if e == nil {
		return
	}
	s := l.s
	late := s.rng.IntN(3) == 0
	revived := e.revived
	if late {
		l.reviveOne(e, it)
	}
	s.mu.Lock()
	late = e.revived > revived // under a new Seq, even if it is dead again
	unsure := e.can != dead && !late
	s.mu.Unlock()
	if unsure {
		return
	}
	payload := []byte(e.name + ":" + fmt.Sprint(s.rng.Uint64()))
	if s.rng.IntN(4) == 0 {
		payload = append(payload, make([]byte, s.rng.IntN(6000))...)
	}
	var header map[string]string
	if s.rng.IntN(2) == 0 {
		header = map[string]string{"n": fmt.Sprint(s.rng.Uint64())}
	}
	s.note("lane %s: edit %v, after its revival: %t", l.name, e, late)
	err := s.until(func() error { return l.w.Store.Edit(s.t.Context(), it, payload, header) })
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case late != errors.Is(err, sender.ErrChanged), err != nil && !late:
		s.fault("%v, which is %v, is edited: %v", e, e.can, err)
	case err == nil:
		if e.Payload = payload; header != nil {
			e.Header = header
		}
	}
}

// list compares pages with full listings, while everything stands still.
func (l *lane) list() {
	s := l.s
	synctest.Wait()
	s.note("lane %s: list", l.name)
	paged := make(map[sender.State][]uint64)
	for _, state := range []sender.State{sender.StateReady, sender.StateInLine, sender.StateInFlight, sender.StateRetrying, sender.StateScheduled, sender.StateDead} {
		q := sender.Query{State: state, Newest: s.rng.IntN(2) == 0, Limit: 1 + s.rng.IntN(20), Scan: 1 + s.rng.IntN(30)}
		for more := true; more; more = q.After != "" {
			p, err := l.w.Store.List(s.t.Context(), q)
			if err != nil {
				if !s.excused(err) {
					s.t.Errorf("listing %s: %v", state, err)
				}
				return
			}
			for _, it := range p.Items {
				if it.Err != nil || state != sender.StateReady && it.State != state {
					s.t.Errorf("listing %s: %+v", state, it)
				}
				if !slices.Contains(paged[state], it.Seq) {
					paged[state] = append(paged[state], it.Seq)
				} else {
					s.t.Errorf("listing %s: %d is there twice", state, it.Seq)
				}
			}
			q.After = p.Next
		}
	}
	pending := slices.Concat(paged[sender.StateReady], paged[sender.StateInFlight], paged[sender.StateRetrying], paged[sender.StateScheduled])
	for what, c := range map[string]struct {
		paged []uint64
		all   func(func(sender.Item, error) bool)
	}{"pending": {pending, l.w.Store.Pending()}, "dead": {paged[sender.StateDead], l.w.Store.Dead()}} {
		var all []uint64
		for it, err := range c.all {
			if err != nil {
				if !s.excused(err) {
					s.t.Errorf("listing %s: %v", what, err)
				}
				return
			}
			all = append(all, it.Seq)
		}
		slices.Sort(all)
		if what == "pending" { // the outcome of what is in flight may be on a slow disk, which has not said so yet
			c.paged = slices.DeleteFunc(c.paged, func(seq uint64) bool {
				return slices.Contains(paged[sender.StateInFlight], seq) && !slices.Contains(all, seq)
			})
		}
		slices.Sort(c.paged)
		if c.paged = slices.Compact(c.paged); !slices.Equal(c.paged, all) {
			s.t.Errorf("lane %s: %s by pages are %v, and all at once %v", l.name, what, c.paged, all)
		}
	}
}

// OperatorPause is what the sender sees of it.
func (w *watched) OperatorPause() sender.Pause {
	p := w.Store.OperatorPause()
	p.Since, p.Until = w.l.s.clock.out(p.Since), w.l.s.clock.out(p.Until)
	return p
}

// Pause is what the outbox orders.
func (w *watched) Pause(ctx context.Context, p sender.Pause) error {
	p.Until = w.l.s.clock.in(p.Until)
	return w.Store.Pause(ctx, p)
}
