package store_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// fates are what may have become of an event, as far as was promised: one of them once the store has
// said so, several while it has not, or was cut off.
type fates uint8

const (
	absent  fates = 1 << iota // never stored
	pending                   // also while it is in flight
	sending                   // in flight, and recorded as sent at most once
	delivered
	dead
	expired
	dropped // by its owner; what the sender says about it later does not count
)

const alive = pending | sending

func (f fates) String() string {
	var names []string
	for i, name := range [...]string{"absent", "pending", "sending", "delivered", "dead", "expired", "dropped"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

func fateOf(v sender.Verdict) fates {
	switch v {
	case sender.Delivered:
		return delivered
	case sender.Dead:
		return dead
	case sender.Expired:
		return expired
	case sender.Sending:
		return sending
	}
	return pending
}

// tries are what an item carries of its failures.
type tries struct{ attempts, failures int }

// event is an event as the model knows it. Guarded by simulation.mu.
type event struct {
	outbox.Event
	name      string
	number    int       // within its lane
	called    int       // when it was put, by the simulation's count of moments
	returned  int       // when Put returned; 0: it has not
	notBefore time.Time // by the clock of the machine
	free      bool      // it has no place in the order of its key: it was scheduled, or revived

	can      fates
	claims   int       // so far
	runs     int       // how many times RunNow began or ended
	seq      uint64    // of the latest claim; 0: not claimed since it was put or revived
	tries    []tries   // what the file may say of its failures
	due      time.Time // no retry before; zero: any time
	accepted int       // by the destination
	revived  int
	requests int
}

func (e *event) String() string { return fmt.Sprintf("event %s (key %q)", e.name, e.Key) }

// before reports whether e has its place before f in the order of their key.
func (e *event) before(f *event) bool {
	return e.returned > 0 && e.returned < f.called || e.called == f.called && e.number < f.number
}

func nameOf(payload []byte) string {
	name, _, _ := strings.Cut(string(payload), ":")
	return name
}

// ledger is a lane's events by their fates: at least, and at most.
type ledger struct {
	put, pending, delivered, dead, expired, dropped span
}

type span struct{ least, most int }

func (s *span) add(can, which fates) {
	if can&which == can {
		s.least++
	}
	if can&which != 0 {
		s.most++
	}
}

func (s span) holds(n int) bool { return s.least <= n && n <= s.most }

func (l *lane) ledger() (sum ledger) {
	for _, e := range l.events {
		sum.put.add(e.can, ^absent)
		sum.pending.add(e.can, alive)
		sum.delivered.add(e.can, delivered)
		sum.dead.add(e.can, dead)
		sum.expired.add(e.can, expired)
		sum.dropped.add(e.can, dropped)
	}
	return sum
}

// addsUp compares what the store counts with the model. What was dropped while it was in flight, or in
// line, counts there until it is met again.
func (l *lane) addsUp(c sender.Counts) {
	if sum := uint64(c.Pending+c.Dead) + c.Delivered + c.Expired + c.Dropped; sum != c.Put {
		l.s.fault("lane %s: put %d, accounted for %d: %+v", l.name, c.Put, sum, c)
	}
	unknown := 0
	if l.s.faults.disk {
		unknown = c.InFlight + c.InLine // what was recorded by a commit that failed is held until it is recorded again
	}
	if more := c.Ready + c.Scheduled + c.Retrying + c.InLine + c.InFlight - c.Pending; more < 0 || more > int(c.Dropped)+unknown {
		l.s.fault("lane %s: pending %d, its parts come to %d more: %+v", l.name, c.Pending, more, c)
	}
	if c.Err != nil || !l.s.disk.told() {
		return // a claim may have seen what is not counted yet
	}
	m := l.ledger()
	if !m.put.holds(int(c.Put)) || !m.pending.holds(c.Pending) || !m.delivered.holds(int(c.Delivered)) ||
		!m.dead.holds(c.Dead) || !m.expired.holds(int(c.Expired)) || !m.dropped.holds(int(c.Dropped)) {
		l.s.fault("lane %s: the store counts %+v, the model %+v", l.name, c, m)
	}
}

// newID returns an ID, by the seed.
func (s *simulation) newID() (id uuid.UUID) {
	for i := range id {
		id[i] = byte(s.rng.IntN(256))
	}
	return id
}
