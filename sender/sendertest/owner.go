package sendertest

import (
	"cmp"
	"slices"

	"github.com/seed8107221f/outbox/sender"
)

// Pending returns the items that are not yet delivered, dead, expired or dropped, by Seq. Those in
// flight are among them, also those recorded as Sending.
func (m *Memory) Pending() []sender.Item {
	m.mu.Lock()
	defer m.mu.Unlock()
	return list(m.ready, m.timed, m.later, slices.DeleteFunc(slices.Clone(m.dead), func(it *sender.Item) bool { return !m.underWay(it) }))
}

// Dead returns the dead items, by Seq.
func (m *Memory) Dead() []sender.Item {
	m.mu.Lock()
	defer m.mu.Unlock()
	return list(slices.DeleteFunc(slices.Clone(m.dead), m.underWay))
}

// underWay reports whether an item of dead is there for the time of its request only. It requires
// that mu is held.
func (m *Memory) underWay(it *sender.Item) bool {
	_, sending := m.sending[it.Seq]
	_, held := m.held[it.Seq]
	return sending && held
}

func list(places ...place) []sender.Item {
	var items []sender.Item
	for _, it := range slices.Concat(places...) {
		items = append(items, *it)
	}
	slices.SortFunc(items, func(a, b sender.Item) int { return cmp.Compare(a.Seq, b.Seq) })
	return items
}

// Counts returns what the queue holds; see [sender.Counts]. InLine is always zero: Memory does not
// remember which items it met behind another of their key, and counts them as Ready.
func (m *Memory) Counts() sender.Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.totals
	c.InFlight, c.PausedUntil = len(m.held), m.paused
	for _, p := range [...]struct {
		items place
		free  *int // counts those that are not in flight
	}{{m.ready, &c.Ready}, {m.timed, &c.Scheduled}, {m.later, &c.Retrying}} {
		for _, it := range p.items {
			c.Pending++
			c.Bytes += int64(len(it.Payload))
			if p.free != &c.Scheduled && (c.Oldest.IsZero() || it.Created.Before(c.Oldest)) {
				c.Oldest = it.Created
			}
			if p.free == &c.Ready && (c.OldestReady.IsZero() || it.Created.Before(c.OldestReady)) {
				c.OldestReady = it.Created
			}
			if _, held := m.held[it.Seq]; held {
				continue
			}
			*p.free++
		}
	}
	for _, it := range m.dead {
		c.DeadBytes += int64(len(it.Payload))
		if m.underWay(it) {
			c.Pending++
		} else {
			c.Dead++
		}
	}
	return c
}

// Drop removes items, pending or dead, by their Seq. A Seq that is not there is passed over. An
// item in flight keeps its key until it is settled; its outcome then finds nothing.
func (m *Memory) Drop(seqs ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq := range seqs {
		for _, p := range []*place{&m.ready, &m.timed, &m.later, &m.dead} {
			if p.takeSeq(seq) != nil {
				m.totals.Dropped++
			}
		}
	}
}

// Revive gives dead items, by their Seq, a new place at the end of the queue: the same ID, a new
// Seq, Attempts and Failures at zero. A Seq that is not among the dead, or is in flight, is passed
// over.
func (m *Memory) Revive(seqs ...uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq := range seqs {
		if m.underWay(&sender.Item{Seq: seq}) {
			continue
		}
		if it := m.dead.takeSeq(seq); it != nil {
			it.Attempts, it.Failures = 0, 0
			m.enqueue(it)
		}
	}
}

// Restart does what a crash does to a real queue: it forgets what is in flight, and keeps the rest.
func (m *Memory) Restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held, m.met, m.turn = nil, 0, 0
}

// FailNext makes the next n calls of Settle that have outcomes return an error that wraps err. With
// applied they have been recorded all the same, as when the answer of a disk is lost; otherwise
// nothing has happened. It replaces what an earlier call asked for; n at zero ends it.
func (m *Memory) FailNext(n int, err error, applied bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failNext, m.failErr, m.failAfter = n, err, applied
}
