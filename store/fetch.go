package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// One reading decodes at most this much of each source.
const (
	fetchItems = 128
	fetchBytes = 256 << 10 // of records; one record is always read
)

// A fetched is an item that was read and is not handed out yet. The order decides later whether it
// is handed out or waits in line.
type fetched struct {
	place   order.Place
	item    sender.Item // with its Seq and Due
	unread  bool        // not decoded: its key was taken, so it would only wait in line
	gone    bool        // it is not in ready any more
	damage  error       // why the record does not decode; it will be quarantined
	blocked error       // why it cannot be opened now; it stays where it is
}

// A reading is one look at the file for a claim.
//
//   - plan fills in the first part, what to read, with Store.mu held.
//   - from fills in the second part, what was found, inside one read transaction and without
//     Store.mu. It takes Store.mu shortly to ask which keys are taken; the answer may change at
//     once, and only saves work.
//   - install takes over the second part, with Store.mu held, if Store.changes has not changed
//     since plan. Otherwise the reading is thrown away.
type reading struct {
	s        *Store
	now      time.Time
	maxBytes int

	changes, commits uint64 // of the Store at plan
	idle             bool   // at plan nothing was in flight, in line or had its turn
	stale            bool   // the order is stale: read all places of later
	fresh            bool   // read ready beyond the cursor
	cursor           uint64
	turns            []uint64 // Seqs of ready that have their turn: read them
	after            format.Key

	txid       uint64
	ledger     format.Ledger
	later      []order.Place // all places of later, if stale
	turned     []fetched
	due        []fetched
	dueEnd     bool  // due holds all that are due
	noLater    bool  // later is empty
	nextDue    int64 // due time of the first item that is not due yet; 0: none, or not known
	ready      []fetched
	readyEnd   bool  // nothing in ready follows
	firstTimed int64 // when the first scheduled item is due, nanoseconds since 1970; 0: there is none
	blocked    error // damage that stopped the reading of a source
}

// plan returns a reading that says what to read. s.mu is held.
func (c *claim) plan() *reading {
	s := c.s
	c.readings++
	n := s.order.Counts()
	return &reading{
		s: s, now: c.now, maxBytes: c.maxBytes,
		changes: s.changes, commits: s.commits,
		idle:   n.InLine+n.InFlight == 0 && !s.order.HasTurns(),
		stale:  s.order.Stale(),
		fresh:  len(s.fetched) == 0 || s.order.Stale(),
		cursor: s.order.Cursor(),
		turns:  s.order.NextTurns(min(max(c.max-len(c.items), 1), fetchItems)),
		after:  c.lastDue,
	}
}

// from reads the file, inside the transaction of t. s.mu is not held.
func (r *reading) from(t *txn) error {
	r.txid, r.ledger = uint64(t.Root.Tx().ID()), t.Ledger
	if r.stale {
		c := t.Later.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if k := format.Key(k); len(k) == 24 {
				r.later = append(r.later, order.Place{Seq: k.Seq(), Due: k.Due(), Key: k.Hash()})
			}
		}
	}
	r.readTimed(t)
	r.readTurns(t)
	r.readLater(t)
	if r.fresh {
		r.readReady(t)
	}
	return nil
}

// readTimed reads when the first scheduled item is due.
func (r *reading) readTimed(t *txn) {
	if t.Ledger.Timed == 0 {
		return
	}
	k, v := t.Timed.Cursor().First()
	if k == nil {
		return
	}
	if err := t.CheckEntry("timed", k, v, 16); err != nil {
		r.stop(err)
		return
	}
	r.firstTimed = format.Key(k).Due()
}

// readTurns reads the items that have their turn.
func (r *reading) readTurns(t *txn) {
	size := 0
	for _, seq := range r.turns {
		if size >= max(fetchBytes, r.maxBytes) {
			return
		}
		k := format.ReadyKey(seq)
		v := t.at(place{ready, k})
		f := fetched{place: order.Place{Seq: seq}, gone: v == nil}
		if v != nil {
			r.decode(&f, k, v)
		}
		size += len(v)
		r.turned = append(r.turned, f)
	}
}

// readLater reads failed items that are due and not in flight.
func (r *reading) readLater(t *txn) {
	due, size := r.s.clock.nanos(r.now), 0
	last := r.after
	c := t.Later.Cursor()
	k, v := seekAfter(c, r.after)
	r.noLater = k == nil && r.after == nil
	for ; k != nil; k, v = c.Next() {
		err := t.CheckEntry("later", k, v, 24)
		if err == nil {
			err = format.CheckOrder("later", last, k)
		}
		if err != nil {
			r.stop(err)
			break
		}
		last = k
		p := order.Place{Seq: format.Key(k).Seq(), Due: format.Key(k).Due(), Key: format.Key(k).Hash()}
		if p.Due > due {
			r.nextDue = p.Due
			break
		}
		if len(r.due) >= fetchItems || size >= max(fetchBytes, r.maxBytes) {
			return
		}
		if r.held(p.Seq) {
			continue
		}
		if t.at(place{later, k}) == nil {
			r.stop(format.Unreachable("later", k))
			break
		}
		f := fetched{place: p}
		r.decode(&f, k, v)
		f.item.Due = r.s.clock.time(p.Due)
		size += len(v)
		r.due = append(r.due, f)
	}
	r.dueEnd = true
}

// readReady reads ready beyond the cursor. It reuses the memory of Store.reading: what was read
// ahead before has been passed or forgotten.
func (r *reading) readReady(t *txn) {
	r.ready = r.s.reading[:0]
	defer func() { r.s.reading = r.ready[:0] }()
	size, last := 0, format.ReadyKey(r.cursor)
	keys := make([]uint64, 0, fetchItems) // of r.ready, which is too wide to be searched
	c := t.Ready.Cursor()
	k, v := c.Seek(format.ReadyKey(r.cursor + 1))
	for ; k != nil && len(r.ready) < fetchItems && size < fetchBytes; k, v = c.Next() {
		err := t.CheckEntry("ready", k, v, 8)
		if err == nil {
			err = format.CheckOrder("ready", last, k)
		}
		if err != nil {
			r.stop(err)
			r.readyEnd = true
			return
		}
		last = k
		key := r.s.codec.recordHash(v)
		r.ready = append(r.ready, fetched{place: order.Place{Seq: format.Key(k).Seq(), Key: key}})
		f := &r.ready[len(r.ready)-1]
		f.unread = r.willWait(key, keys)
		if keys = append(keys, key); f.unread {
			continue
		}
		r.decode(f, k, v)
		if size += len(v); f.blocked != nil {
			return
		}
	}
	r.readyEnd = k == nil
}

// decode decodes record v of f under bucket key k.
func (r *reading) decode(f *fetched, k format.Key, v format.Record) {
	plain, err := r.s.codec.open(k, v)
	if err == nil {
		f.item, err = plain.Item(&r.s.codec.kinds) // an item is large: it is not passed on
	}
	switch {
	case errors.Is(err, ErrSealed):
		f.blocked = fmt.Errorf("item %v: %w", v.ID(), err)
	case err == nil && v.IsDamaged():
		f.damage = errors.New("it is marked as damaged, which only a dead one may be")
	default:
		f.damage = err
	}
	f.item.Seq = f.place.Seq
}

// held reports whether an item is in flight.
func (r *reading) held(seq uint64) bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.order.InFlight(seq)
}

// willWait reports whether an item of ready would only wait in line: another item of its key is in
// flight, or was read before it (keys). The answer may change; Fresh checks it again.
func (r *reading) willWait(key uint64, keys []uint64) bool {
	if key == 0 {
		return false
	}
	if slices.Contains(keys, key) {
		return true
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.s.order.Taken(key)
}

// stop notes damage that stops the reading of a source. The first one counts.
func (r *reading) stop(err error) { r.blocked = cmp.Or(r.blocked, err) }

// install takes over what was read. s.mu is held, and Store.changes is as it was at plan. It works
// out until: when the next item of timed or later is due. untilKnown is set only if no commit came
// since plan.
func (c *claim) install(r *reading) {
	s := c.s
	c.read = r
	c.turns, c.due, c.dueEnd = r.turned, r.due, r.dueEnd
	if n := len(r.due); n > 0 && !r.dueEnd {
		p := r.due[n-1].place
		c.lastDue = format.LaterKey(p.Due, p.Seq, p.Key)
	}
	if r.blocked != nil {
		c.stop(r.blocked)
	}
	if r.stale {
		s.order.Rebuild(slices.Values(r.later))
	}
	if r.fresh {
		s.fetched = r.ready
	}
	if r.txid > s.txid && r.ledger != s.ledger { // same ledger: another lane
		s.ahead, s.seen, s.seenTxid = true, r.ledger, r.txid
	}
	s.until, s.untilKnown = time.Time{}, s.commits == r.commits && r.after == nil && r.dueEnd
	if r.firstTimed != 0 {
		left := time.Unix(0, r.firstTimed).Sub(c.now.Round(0))
		s.until = c.now.Add(left)
		c.releaseDue = left <= 0
	}
	if r.nextDue != 0 {
		if due := s.clock.time(r.nextDue); s.until.IsZero() || due.Before(s.until) {
			s.until = due
		}
	}
	c.round.Resume()
}

// discard forgets what this claim has read: an item of it may have been dropped or settled since.
// Every source is asked again. s.mu is held.
func (c *claim) discard() {
	c.read, c.turns, c.due, c.dueEnd, c.lastDue = nil, nil, nil, false, nil
	c.round.Resume()
}

// nothingDue reports whether memory knows that nothing of later and timed is due at now. s.mu is
// held.
func (s *Store) nothingDue(now time.Time) bool {
	return s.untilKnown && (s.until.IsZero() || s.until.After(now))
}

// advance drops the first of the items that were read ahead. s.mu is held.
func (s *Store) advance() {
	s.fetched[0] = fetched{} // its holder has the payload now
	s.fetched = s.fetched[1:]
}

// forgetFetched drops what was read ahead and makes a reading that is under way worthless: an item
// in it may have been dropped or settled. s.mu is held.
func (s *Store) forgetFetched() {
	s.fetched = nil
	s.changes++
}

// holds reports whether the item of an outcome is in flight and was claimed where the outcome says.
func (s *Store) holds(o *settling) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.Holds(o.place())
}

// sentCount counts the items in flight that are in dead.
func (s *Store) sentCount() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.order.Counts().Sent)
}

// underWay reports whether record v of dead, under bucket key k, is there only while its request
// runs.
func (s *Store) underWay(k format.Key, v format.Record) bool {
	if !v.IsSending() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order.InFlight(k.Seq())
}
