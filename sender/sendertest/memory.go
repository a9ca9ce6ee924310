package sendertest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Memory is a [sender.Queue] in memory, for tests of senders and transports. It is written to be
// read, as the contract in code: what a real queue remembers for speed, Memory finds out again in
// each Claim. Ten thousand items are no trouble.
//
// The zero Memory is empty and ready to use; do not copy it after first use. All methods are safe
// for concurrent use, and none blocks. An error says that ctx had ended before the call, which then
// did nothing, or comes from FailNext.
type Memory struct {
	mu sync.Mutex // a leaf; guards everything below

	// What a real queue keeps on disk. An item lies in exactly one place.
	seq   uint64 // the last one assigned
	ready place  // may be sent at any time; Due is zero
	timed place  // scheduled, and the time has not come; Due is that time
	later place  // failed, waiting for the next try; Due is that moment
	dead  place  // kept with the reason; Due is zero
	// sending has those of dead that were recorded as Sending, by Seq, as they were before that.
	// Only one that is held is taken back.
	sending  map[uint64]sender.Item
	paused   time.Time     // end of the kept pause; zero: there was none
	operator sender.Pause  // of the operator
	totals   sender.Counts // Put, Delivered, Expired, Dropped; the rest is unused

	// What a real queue knows in memory only. Restart forgets it.
	held map[uint64]sender.Item // in flight, by Seq, as they were handed out
	met  uint64                 // highest Seq handed out as fresh: what is free below it has been returned
	turn int                    // whose turn it is: see claimable

	failNext  int // how many calls of Settle are still to fail
	failErr   error
	failAfter bool // after having been applied
}

// place holds items sorted by Due, then by Seq. Where Due is zero, Seq alone sorts.
type place []*sender.Item

func (p place) find(due time.Time, seq uint64) (int, bool) {
	return slices.BinarySearchFunc(p, seq, func(it *sender.Item, seq uint64) int {
		return cmp.Or(it.Due.Compare(due), cmp.Compare(it.Seq, seq))
	})
}

func (p *place) put(it *sender.Item) {
	i, _ := p.find(it.Due, it.Seq)
	*p = slices.Insert(*p, i, it)
}

// take removes the item with that Due and Seq; nil: it does not lie here.
func (p *place) take(due time.Time, seq uint64) *sender.Item {
	i, ok := p.find(due, seq)
	if !ok {
		return nil
	}
	it := (*p)[i]
	*p = slices.Delete(*p, i, i+1)
	return it
}

// takeSeq removes the item with that Seq, whatever its Due; nil: it does not lie here.
func (p *place) takeSeq(seq uint64) *sender.Item {
	i := slices.IndexFunc(*p, func(it *sender.Item) bool { return it.Seq == seq })
	if i < 0 {
		return nil
	}
	return p.take((*p)[i].Due, seq)
}

// Append puts items into the queue in their order and assigns their Seq. An item whose Due is after
// now waits until then, by the wall clock; any other is ready. Header and Payload are copied.
func (m *Memory) Append(ctx context.Context, items ...sender.Item) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sendertest: append %d items: %w", len(items), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now().Round(0)
	for _, it := range items {
		it.Payload, it.Header = bytes.Clone(it.Payload), maps.Clone(it.Header)
		it.Due = it.Due.Round(0) // a schedule is wall time
		if it.Due.After(now) {
			m.seq++
			it.Seq = m.seq
			m.timed.put(&it)
		} else {
			m.enqueue(&it)
		}
		m.totals.Put++
	}
	return nil
}

// enqueue gives an item a new place at the end of ready. It requires that mu is held.
func (m *Memory) enqueue(it *sender.Item) {
	m.seq++
	it.Seq, it.Due = m.seq, time.Time{}
	m.ready.put(it)
}

// Claim implements [sender.Queue].
func (m *Memory) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, fmt.Errorf("sendertest: claim up to %d items: %w", max, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if next, paused := m.pausedUntil(now); paused {
		return nil, next, nil
	}
	if max <= 0 {
		return nil, m.next(now, m.claimable(now, 0)), nil
	}
	for len(m.timed) > 0 && !m.timed[0].Due.After(now.Round(0)) {
		it := m.timed[0]
		m.enqueue(m.timed.take(it.Due, it.Seq))
	}

	var items []sender.Item
	size, empty := 0, 0
	sources := m.claimable(now, max)
	for len(items) < max && empty < len(sources) {
		src := &sources[m.turn]
		if len(*src) == 0 {
			empty++
			m.turn = (m.turn + 1) % len(sources)
			continue
		}
		it := *(*src)[0]
		if size += len(it.Payload); maxBytes > 0 && size > maxBytes && len(items) > 0 {
			break // it keeps its turn
		}
		if m.turn == fresh {
			m.met = it.Seq
		}
		if m.held == nil {
			m.held = make(map[uint64]sender.Item)
		}
		m.held[it.Seq] = it
		items = append(items, it)
		*src = (*src)[1:]
		empty = 0
		m.turn = (m.turn + 1) % len(sources)
	}
	return items, m.next(now, sources), nil
}

// Claim takes turns between these, so that none starves another.
const (
	returned = iota // in ready, passed by before: released, or its key was taken
	retries         // in later, and due
	fresh           // in ready, not met before
)

// claimable returns what may be handed out now, in order; of fresh items no more than max and one.
// No two of all have the same key, so any of them may be handed out together, and the others stay
// claimable. It requires that mu is held.
func (m *Memory) claimable(now time.Time, max int) (sources [3][]*sender.Item) {
	// A key is taken while one of its items is in flight or waits in later.
	taken := make(map[string]bool)
	for _, it := range m.held {
		taken[it.Key] = true
	}
	for _, it := range m.later {
		taken[it.Key] = true
		if _, held := m.held[it.Seq]; !held && !it.Due.After(now) {
			sources[retries] = append(sources[retries], it)
		}
	}
	for _, it := range m.ready {
		if _, held := m.held[it.Seq]; held || it.Key != "" && taken[it.Key] {
			continue
		}
		taken[it.Key] = true // the others of this key stand behind it
		if it.Seq <= m.met {
			sources[returned] = append(sources[returned], it)
			continue
		}
		sources[fresh] = append(sources[fresh], it)
		if len(sources[fresh]) > max {
			break
		}
	}
	return sources
}

// next returns when more will be due: now if something is left in sources, zero if nothing is
// scheduled. It requires that mu is held.
func (m *Memory) next(now time.Time, sources [3][]*sender.Item) time.Time {
	for _, src := range sources {
		if len(src) > 0 {
			return now
		}
	}
	var next time.Time
	if len(m.timed) > 0 {
		next = m.timed[0].Due
	}
	for _, it := range m.later {
		if it.Due.After(now) {
			if next.IsZero() || it.Due.Before(next) {
				next = it.Due
			}
			break
		}
	}
	return next
}

// Settle implements [sender.Queue]. It never waits to share a commit.
func (m *Memory) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sendertest: settle %d outcomes: %w", len(outcomes), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failNext > 0 {
		m.failNext--
		if m.failAfter {
			m.record(outcomes)
		}
		return fmt.Errorf("sendertest: settle %d outcomes: %w", len(outcomes), m.failErr)
	}
	m.record(outcomes)
	for _, o := range outcomes {
		// An outcome that repeats an older one must not free what has been claimed again.
		if o.Verdict != sender.Sending && m.holds(o.Item) {
			delete(m.held, o.Item.Seq)
		}
	}
	return nil
}

// record does what a real queue commits. An item is looked for where it was claimed and passed over
// if it is not there, so that a repetition changes nothing. It requires that mu is held.
func (m *Memory) record(outcomes []sender.Outcome) {
	for _, o := range outcomes {
		if o.PauseUntil.After(m.paused) {
			m.paused = o.PauseUntil
		}
		if o.Verdict == sender.Sending && !m.holds(o.Item) {
			continue // a repetition
		}
		it := m.take(o)
		if it == nil {
			continue
		}
		was := *it
		it.Attempts, it.Failures = o.Item.Attempts, o.Item.Failures
		it.FailedAt, it.LastErr = o.Item.FailedAt, o.Item.LastErr
		switch o.Verdict {
		case sender.Released:
			*it = was
			m.origin(was.Due).put(it)
		case sender.Sending:
			if m.sending == nil {
				m.sending = make(map[uint64]sender.Item)
			}
			m.sending[it.Seq] = was
			it.Due = time.Time{}
			m.dead.put(it)
		case sender.Delivered:
			m.totals.Delivered++
		case sender.Expired:
			m.totals.Expired++
		case sender.Retry:
			it.Due = o.Due
			if it.Due.IsZero() {
				it.Due = time.Unix(0, 0) // at once; zero would mean that it lies in ready
			}
			m.later.put(it)
		case sender.Dead:
			it.Due = time.Time{}
			m.dead.put(it)
		}
	}
}

// origin is where an item with that Due is claimed from. It requires that mu is held.
func (m *Memory) origin(due time.Time) *place {
	if due.IsZero() {
		return &m.ready
	}
	return &m.later
}

// take removes the item of an outcome from where it was claimed, or from the dead if it is recorded
// as Sending by the same claim; it is as it was claimed. nil: it lies in neither. It requires that
// mu is held.
func (m *Memory) take(o sender.Outcome) *sender.Item {
	if it := m.origin(o.Item.Due).take(o.Item.Due, o.Item.Seq); it != nil {
		return it
	}
	was, ok := m.sending[o.Item.Seq]
	if !ok || !m.holds(o.Item) || m.dead.take(time.Time{}, o.Item.Seq) == nil {
		return nil
	}
	delete(m.sending, o.Item.Seq)
	return &was
}

// holds reports whether an item is in flight from where it was claimed. It requires that mu is
// held.
func (m *Memory) holds(it sender.Item) bool {
	h, ok := m.held[it.Seq]
	return ok && h.Due.Equal(it.Due)
}

// Paused implements [sender.Queue].
func (m *Memory) Paused() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.paused
}
