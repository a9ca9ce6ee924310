package sendertest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

const (
	defaultLimit = 50    // items of a page
	maxLimit     = 1000  // items of a page
	defaultScan  = 10000 // items that are looked at
)

// List implements [sender.Browser]. Items that are retrying or scheduled come in the order of Due,
// the others in the order of Seq.
func (m *Memory) List(ctx context.Context, q sender.Query) (p sender.Page, err error) {
	m.mu.Lock()
	items, ok := m.listed(q.State)
	m.mu.Unlock()
	prefix := string(q.State) + " oldest "
	if q.Newest {
		prefix = string(q.State) + " newest "
		slices.Reverse(items)
	}
	place, is := strings.CutPrefix(string(q.After), prefix)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case !ok:
		err = fmt.Errorf("there is no state %.40q", q.State)
	case q.Limit < 0 || q.Limit > maxLimit || q.Scan < 0:
		err = fmt.Errorf("a Limit of %d, 0 to %d expected, and a Scan of %d, 0 or more expected", q.Limit, maxLimit, q.Scan)
	case q.After != "" && (!is || len(place) != len((&entry{}).cursor())):
		err = fmt.Errorf("%.80q is no cursor of this listing", q.After)
	}
	if err != nil {
		return p, fmt.Errorf("sendertest: list: %w", err)
	}
	limit, scan := cmp.Or(q.Limit, defaultLimit), cmp.Or(q.Scan, defaultScan)
	last := place
	for i := range items {
		it := &items[i]
		at := it.cursor()
		if place != "" && (q.Newest && at >= place || !q.Newest && at <= place) {
			continue // an earlier page had it
		}
		if len(p.Items) == limit || p.Looked == scan {
			p.Next = sender.Cursor(prefix + last)
			break
		}
		p.Looked++
		last = at
		if q.Match == nil || q.Match(&it.Item) {
			p.Items = append(p.Items, it.Listed)
		}
	}
	return p, nil
}

// An entry is an item in a listing, and the Due that sorts it there.
type entry struct {
	sender.Listed
	due time.Time
}

// cursor names the place of an entry in the order of its listing, as text that sorts.
func (e *entry) cursor() string {
	due := int64(0)
	if !e.due.IsZero() {
		due = e.due.UnixNano()
	}
	return fmt.Sprintf("%020d %020d", due, e.Seq)
}

// listed returns what a listing of a state holds; false: there is no such state. It requires that
// mu is held.
func (m *Memory) listed(state sender.State) (items []entry, ok bool) {
	var from []place
	switch state {
	case sender.StateReady, sender.StateInLine:
		from = []place{m.ready}
	case sender.StateInFlight:
		from = []place{m.ready, m.later, m.dead}
	case sender.StateRetrying:
		from = []place{m.later}
	case sender.StateScheduled:
		from = []place{m.timed}
	case sender.StateDead:
		from = []place{m.dead}
	default:
		return nil, false
	}
	taken := map[string]bool{"": false} // keys of which an item goes before those that follow
	for _, it := range m.held {
		taken[it.Key] = it.Key != ""
	}
	for _, it := range m.later {
		taken[it.Key] = it.Key != ""
	}
	for _, p := range from {
		for _, it := range p {
			is := m.state(it, taken[it.Key])
			taken[it.Key] = it.Key != ""
			if is != state && state != sender.StateReady {
				continue
			}
			e := entry{Listed: sender.Listed{Item: *it, State: is}}
			if state != sender.StateInFlight {
				e.due = it.Due
			}
			items = append(items, e)
		}
	}
	if state == sender.StateInFlight {
		slices.SortFunc(items, func(a, b entry) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return items, true
}

// state says where an item is in its life; waits: if it is ready, another of its key goes before.
// It requires that mu is held.
func (m *Memory) state(it *sender.Item, waits bool) sender.State {
	in := func(p place) bool {
		i, ok := p.find(it.Due, it.Seq)
		return ok && p[i] == it
	}
	_, held := m.held[it.Seq]
	switch {
	case in(m.dead) && !m.underWay(it):
		return sender.StateDead
	case held:
		return sender.StateInFlight
	case in(m.timed):
		return sender.StateScheduled
	case in(m.later):
		return sender.StateRetrying
	case waits:
		return sender.StateInLine
	}
	return sender.StateReady
}

// before returns the items that an item of ready waits for, by Seq: those of its key that are in
// flight, have failed, or stand before it. It requires that mu is held.
func (m *Memory) before(it *sender.Item) []sender.Item {
	bySeq := map[uint64]sender.Item{}
	add := func(other sender.Item) {
		if it.Key != "" && other.Key == it.Key && other.Seq != it.Seq {
			bySeq[other.Seq] = other
		}
	}
	for _, other := range m.held {
		add(other)
	}
	for _, other := range m.later {
		add(*other)
	}
	for _, other := range m.ready {
		if other.Seq < it.Seq {
			add(*other)
		}
	}
	return slices.SortedFunc(maps.Values(bySeq), func(a, b sender.Item) int { return cmp.Compare(a.Seq, b.Seq) })
}

// find returns the item with that ID, the one at seq first; nil: there is none. It requires that mu
// is held.
func (m *Memory) find(id uuid.UUID, seq uint64) (found *sender.Item) {
	for _, it := range slices.Concat(m.ready, m.timed, m.later, m.dead) {
		if it.ID == id && (found == nil || it.Seq == seq) {
			found = it
		}
	}
	return found
}

// Explain implements [sender.Explainer]. Ahead counts all that is pending and not in flight.
func (m *Memory) Explain(ctx context.Context, id uuid.UUID, seq uint64) (w sender.Wait, err error) {
	if err := ctx.Err(); err != nil {
		return w, fmt.Errorf("sendertest: explain: item %v: %w", id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	it := m.find(id, seq)
	if it == nil {
		return w, fmt.Errorf("sendertest: explain: item %v: %w", id, sender.ErrNotFound)
	}
	before := m.before(it)
	w.Listed = sender.Listed{Item: *it, State: m.state(it, len(before) > 0)}
	switch w.State {
	case sender.StateInFlight, sender.StateDead:
		return w, nil
	case sender.StateInLine:
		w.Head, w.Behind = &before[0], len(before)
	}
	for _, other := range slices.Concat(m.ready, m.timed, m.later) {
		if _, held := m.held[other.Seq]; !held && other != it {
			w.Ahead++
		}
	}
	return w, nil
}

// RunNow implements [sender.Editor]. Nobody is woken: Memory is no [sender.Exclusive].
func (m *Memory) RunNow(ctx context.Context, items ...sender.Item) (n int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("sendertest: run now %d items: %w", len(items), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, named := range items {
		it := m.find(named.ID, named.Seq)
		if it == nil || it.Seq != named.Seq {
			continue
		}
		switch state := m.state(it, false); {
		case state == sender.StateScheduled:
			m.enqueue(m.timed.take(it.Due, it.Seq))
			n++
		case state == sender.StateRetrying && it.Due.After(now):
			m.later.take(it.Due, it.Seq)
			it.Due = now
			m.later.put(it)
			n++
		}
	}
	return n, nil
}

// Edit implements [sender.Editor]. Header and Payload are copied.
func (m *Memory) Edit(ctx context.Context, it sender.Item, payload []byte, header map[string]string) error {
	err := ctx.Err()
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.find(it.ID, it.Seq)
	if err == nil && (is == nil || is.Seq != it.Seq || m.state(is, false) != sender.StateDead) {
		err = sender.ErrChanged
	}
	if err == nil {
		if header == nil {
			header = is.Header
		}
		holds := func(payload []byte, header map[string]string) bool {
			return bytes.Equal(is.Payload, payload) && maps.Equal(is.Header, header)
		}
		if it.Payload != nil && !holds(it.Payload, it.Header) && !holds(payload, header) {
			err = sender.ErrChanged
		}
	}
	if err != nil {
		return fmt.Errorf("sendertest: edit item %v: %w", it.ID, err)
	}
	is.Payload, is.Header = bytes.Clone(payload), maps.Clone(header)
	return nil
}
