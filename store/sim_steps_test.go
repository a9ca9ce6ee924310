package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// step does one thing at random.
func (s *simulation) step() {
	l := s.lanes[s.rng.IntN(len(s.lanes))]
	d := s.dests[s.rng.IntN(len(s.dests))]
	switch p := s.rng.IntN(1000); {
	case p < 200:
		l.put(l.w, l.box, l.event())
	case p < 240:
		l.put(l.w, l.box, l.some(s.rng.IntN(7))...)
	case p < 255:
		l.put(l.w, l.box, l.some(20+s.rng.IntN(50))...)
	case p < 320:
		l.putBeside()
	case p < 480 && s.faults.destination:
		s.mu.Lock()
		d.mood = moods[s.rng.IntN(len(moods))]
		s.mu.Unlock()
		s.note("the destination of lane %s: %s", l.name, d.mood)
	case p < 485 && s.faults.destination:
		s.outage(d)
	case p < 545 && s.faults.disk:
		mood := diskMoods[s.rng.IntN(len(diskMoods))]
		s.note("the disk: %s", mood)
		s.disk.set(mood)
	case p < 555 && s.faults.clock:
		by := time.Duration(s.rng.IntN(7200)-3600) * time.Second
		s.note("the wall clock is stepped by %v", by)
		s.clock.step(by)
	case p < 575 && s.faults.crash:
		s.note("crash")
		s.crash()
	case p < 580 && s.faults.crash:
		s.crashLoop()
	case p < 587:
		s.note("close")
		s.open(s.close(s.shut))
	case p < 595:
		wait := s.short()
		s.note("shutdown within %v", wait)
		s.open(s.close(func(l *lane) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(s.t.Context(), wait)
			defer cancel()
			return wait + time.Second, l.box.Shutdown(ctx)
		}))
	case p < 625:
		l.flush()
	case p < 655:
		l.revive()
	case p < 700:
		l.drop()
	case p < 708:
		l.pause()
	case p < 724:
		l.resume()
	case p < 728:
		l.clearThrottle()
	case p < 744:
		l.runNow()
	case p < 760:
		l.edit()
	case p < 766:
		l.list()
	default:
		s.wait()
	}
}

func (s *simulation) short() time.Duration { return time.Duration(s.rng.IntN(3000)) * time.Millisecond }

func (s *simulation) wait() {
	d := s.short() / 10
	switch s.rng.IntN(20) {
	case 0:
		d *= 1000
	case 1, 2, 3:
		d *= 20
	}
	s.note("wait %v", d)
	time.Sleep(d)
}

// outage has nothing delivered for a minute to some hours.
func (s *simulation) outage(d *destination) {
	mood := []string{"500", "403", "timeout"}[s.rng.IntN(3)]
	lasts := time.Minute << s.rng.IntN(8)
	s.note("an outage of %v: %s", lasts, mood)
	s.mu.Lock()
	d.mood = mood
	s.mu.Unlock()
	time.Sleep(lasts)
	s.mu.Lock()
	d.mood = "ok"
	s.mu.Unlock()
}

func (s *simulation) crashLoop() {
	for range 2 + s.rng.IntN(4) {
		s.note("crash, in a loop")
		s.crash()
		time.Sleep(s.short() / 8)
	}
}

func (l *lane) some(n int) []*event {
	es := make([]*event, n)
	for i := range es {
		es[i] = l.event()
	}
	return es
}

// event makes an event.
func (l *lane) event() *event {
	s := l.s
	e := &event{can: absent, tries: []tries{{}}}
	e.Key = []string{"", "", "a", "b", "c", "d"}[s.rng.IntN(6)]
	e.Kind = "track"
	switch s.rng.IntN(40) {
	case 0:
		e.Kind = "poison 500"
	case 1:
		e.Kind = "poison 403"
	}
	if s.rng.IntN(3) == 0 {
		e.ID = s.newID()
	}
	if s.rng.IntN(3) == 0 {
		e.Header = map[string]string{"n": fmt.Sprint(s.rng.Uint64())}
	}
	now := time.Now()
	if s.rng.IntN(10) == 0 {
		e.NotBefore = now.Add(time.Duration(s.rng.IntN(120)-20) * time.Second)
	}
	if s.rng.IntN(10) == 0 {
		e.Expires = now.Add(time.Duration(1+s.rng.IntN(120)) * time.Second)
		if !e.Expires.After(e.NotBefore) {
			e.Expires = e.NotBefore.Add(time.Second)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.number = len(l.events) + 1
	e.name = fmt.Sprint(e.number)
	e.Payload = []byte(e.name + ":")
	if s.rng.IntN(10) == 0 {
		e.Payload = append(e.Payload, make([]byte, s.rng.IntN(6000))...)
	}
	l.events = append(l.events, e)
	l.byName[e.name] = e
	if e.Key != "" {
		l.byKey[e.Key] = append(l.byKey[e.Key], e)
	}
	return e
}

// put stores events in a process, and checks what comes back.
func (l *lane) put(w *watched, box *outbox.Outbox, es ...*event) {
	s := l.s
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.note("lane %s: put %v", l.name, es)
	values := make([]outbox.Event, len(es))
	s.mu.Lock()
	if w.gone {
		s.mu.Unlock()
		return
	}
	s.moment++
	for i, e := range es {
		e.can, e.called = absent|pending, s.moment
		e.notBefore, e.free = s.clock.in(e.NotBefore).Round(0), e.NotBefore.After(time.Now())
		values[i] = e.Event
	}
	s.mu.Unlock()
	var ids []uuid.UUID
	var err error
	if len(values) == 1 {
		var id uuid.UUID
		id, err = box.Put(ctx, values[0])
		ids = []uuid.UUID{id}
	} else {
		ids, err = box.PutAll(ctx, values...)
	}
	s.note("lane %s: put %v: %v", l.name, es, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.gone {
		return // a killed process learns nothing
	}
	s.moment++
	nothing := err != nil && strings.Contains(err.Error(), "nothing was stored")
	if err != nil && !l.expected(err, nothing) && !s.excused(err) && !errors.Is(err, outbox.ErrClosed) {
		s.fault("lane %s: put of %d events: %v", l.name, len(es), err)
	}
	nothing = nothing || errors.Is(err, outbox.ErrClosed) || errors.Is(err, sender.ErrClosed)
	for i, e := range es {
		e.returned = s.moment
		if e.ID == uuid.Nil {
			e.ID = ids[i]
		}
		switch {
		case ids[i] != e.ID:
			s.fault("%v has ID %v, Put returned %v", e, e.ID, ids[i])
		case err == nil:
			e.can &^= absent
		case nothing && e.can&absent == 0:
			s.fault("%v was handed out, and its Put says that nothing was stored: %v", e, err)
		case nothing:
			e.can = absent
		}
	}
}

// expected reports whether err says that there was no room.
func (l *lane) expected(err error, nothing bool) bool {
	waited := l.o.Store.Block && errors.Is(err, context.DeadlineExceeded)
	return l.o.Store.MaxPending > 0 && (waited || errors.Is(err, sender.ErrFull)) && nothing
}

// putBeside puts from several goroutines, while the steps go on.
func (l *lane) putBeside() {
	w, box := l.w, l.box
	for range 1 + l.s.rng.IntN(4) {
		es := l.some(1 + l.s.rng.IntN(4))
		l.s.putters.Go(func() {
			for _, e := range es {
				l.put(w, box, e)
			}
		})
	}
}

func (l *lane) flush() {
	s := l.s
	ctx, cancel := context.WithTimeout(s.t.Context(), s.short())
	defer cancel()
	// There for certain: the commit of a Put whose context has ended may still run, and what is scheduled counts
	// as put when its time comes.
	var stored []*event
	s.mu.Lock()
	for _, e := range l.events {
		if e.returned > 0 && e.can&absent == 0 && !e.NotBefore.After(time.Now()) {
			stored = append(stored, e)
		}
	}
	s.mu.Unlock()
	s.note("lane %s: flush", l.name)
	err := l.box.Flush(ctx)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range stored {
		if err == nil && (e.can == pending || e.can == sending) {
			s.fault("after Flush %v is still %v", e, e.can)
		}
	}
	if err != nil && !errors.Is(err, outbox.ErrPending) && !s.excused(err) {
		s.fault("flush: %v", err)
	}
}

// choose returns one of those listed, with its event, or nil; often one that failed, if there is one.
func (l *lane) choose(seq func(func(sender.Item, error) bool), is fates) (*event, sender.Item) {
	s := l.s
	synctest.Wait()
	var items []sender.Item
	for it, err := range seq {
		if err != nil {
			if !s.excused(err) {
				s.t.Errorf("listing: %v", err)
			}
			return nil, it
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, sender.Item{}
	}
	it := items[s.rng.IntN(len(items))]
	if i := slices.IndexFunc(items, func(it sender.Item) bool { return it.Failures > 0 }); i >= 0 && s.rng.IntN(2) == 0 {
		it = items[i]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := l.byName[nameOf(it.Payload)]
	if e == nil || e.can&is == 0 || is == dead && it.LastErr == "" {
		s.fault("lane %s: %v is listed as %v for %q", l.name, e, is, it.LastErr)
		return nil, it
	}
	return e, it
}

// until repeats what fails because of the disk.
func (s *simulation) until(do func() error) error {
	for try := range 20 {
		err := do()
		if err == nil || !s.excused(err) {
			return err
		}
		if try == 10 {
			s.note("the disk: ok, somebody insists")
			s.disk.heal()
		}
		time.Sleep(3 * time.Second)
	}
	return errDisk
}

func (l *lane) revive() {
	e, it := l.choose(l.box.Dead(), dead)
	if e == nil {
		return
	}
	l.reviveOne(e, it)
}

func (l *lane) reviveOne(e *event, it sender.Item) {
	s := l.s
	s.note("lane %s: revive %v", l.name, e)
	s.mu.Lock()
	was := e.tries
	e.can, e.free, e.seq, e.tries, e.due = dead|pending, true, 0, []tries{{}}, time.Time{}
	e.revived++
	s.mu.Unlock()
	before := l.w.Counts()
	err := s.until(func() error { _, err := l.box.Revive(s.t.Context(), it); return err })
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		if e.can&^(dead|pending) == 0 && e.seq == 0 {
			e.can = pending
		}
	case errors.Is(err, sender.ErrFull) && e.seq == 0:
		e.can, e.tries = dead, was
		e.revived--
	case !errors.Is(err, sender.ErrFull):
		s.fault("revive: %v, with %+v", err, before)
	}
}

func (l *lane) drop() {
	list, is := l.box.Pending(), alive
	if l.s.rng.IntN(4) == 0 {
		list, is = l.box.Dead(), dead
	}
	e, it := l.choose(list, is)
	if e == nil {
		return
	}
	s := l.s
	s.note("lane %s: drop %v", l.name, e)
	s.mu.Lock()
	e.can |= dropped
	s.mu.Unlock()
	before := l.w.Counts().Dropped
	err := s.until(func() error { _, err := l.box.Drop(s.t.Context(), it); return err })
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l.w.Counts().Dropped - before {
	case 0:
		e.can &^= dropped
	case 1:
		e.can = dropped
	}
	if err != nil {
		s.fault("drop: %v", err)
	}
}
