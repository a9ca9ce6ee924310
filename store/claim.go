package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// claimSteps is how many items one Claim looks at before it asks to be called again.
const claimSteps = 512

// maxReadings bounds how often one Claim reads the file: a commit that changes what was read, while it is
// read, makes the reading worthless.
const maxReadings = 16

// Claim hands out due items; see [sender.Queue]. Expired ones are handed out like others.
func (s *Store) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, s.wrap("claim", context.Cause(ctx))
	}
	if s.closed.Load() {
		return nil, time.Time{}, s.wrap("claim", sender.ErrClosed)
	}
	if s.file.Err() != nil {
		// A commit of nothing heals the file, or says why it cannot be healed.
		if err := s.do(ctx, s.newWrite(), 0); err != nil {
			return nil, time.Time{}, s.wrap("claim", err)
		}
	}
	if until := s.Paused(); until.After(now) {
		return nil, until, nil
	}
	s.claims.Lock()
	defer s.claims.Unlock()
	c := &s.claiming
	*c = claim{s: s, now: now, max: max, maxBytes: maxBytes}
	defer func() { *c = claim{} }() // it keeps no payload
	err := c.run()
	s.noteDamage(errors.Join(err, c.blocked))
	if err != nil {
		return nil, time.Time{}, s.wrap("claim", err)
	}
	if c.round.Awaited() {
		s.file.FlushGathered()
	}
	if len(c.bad) > 0 {
		// What cannot be quarantined stays in flight: it would be met again at once.
		if err = s.quarantineAll(c.bad); err != nil && !errors.Is(err, ErrCorrupt) {
			s.mu.Lock()
			for _, p := range c.bad {
				s.order.Withdraw(p.key.Seq())
			}
			s.mu.Unlock()
		}
	}
	if c.releaseDue {
		err = errors.Join(err, s.releaseDue(ctx, now))
		c.next = now
	}
	s.noteDamage(err)
	if err != nil && len(c.items) == 0 {
		return nil, time.Time{}, s.wrap("claim", err)
	}
	return c.items, c.next, nil
}

// A claim is one call of Claim. It hands out what memory can tell, and reads the file when it cannot: most
// claims of a busy lane need no transaction, which takes ten times as long.
//
//   - Store.mu is held while items are handed out, and not while the file is read.
//   - Only Claim puts items in flight, and only one Claim runs. So an item that was read and was not in
//     flight then can only have been dropped since: Store.changes tells.
//   - Nothing is written. A crash forgets what was handed out, and the next process claims it again.
type claim struct {
	s             *Store
	now           time.Time
	max, maxBytes int

	round    order.Round
	read     *reading // the latest; nil: none, memory must do
	readings int
	needFile bool       // a source may have an item, which only the file can tell
	due      []fetched  // of later, due and read, in order
	dueEnd   bool       // nothing more of later is due
	turns    []fetched  // of ready, those read because they have their turn
	lastDue  format.Key // where the next reading of later begins; nil: at its beginning
	blocked  error      // why the next record of a source cannot be handed out; nil: it can
	bytes    int        // of the payloads of items
	items    []sender.Item
	next     time.Time // see sender.Queue
	bad      []place   // records that do not decode; they are in flight

	releaseDue bool // the time of a scheduled item has come
}

// run fills c.items. After an error nothing is handed out.
func (c *claim) run() error {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	c.round = s.order.Begin(c, claimSteps)
	for {
		c.needFile = s.order.Stale() || c.read == nil && !c.memoryWillDo()
		full := !c.needFile && c.handOut()
		if full || c.round.Spent() {
			c.next = c.now
			break
		}
		if !c.needFile {
			c.next = s.until
			break
		}
		if len(c.items) > 0 && len(c.items) >= c.max && c.read == nil || c.readings == maxReadings {
			c.next = c.now // what memory could tell is handed out
			break
		}
		r := c.plan()
		s.mu.Unlock()
		err := s.view(r.from)
		s.mu.Lock()
		if err != nil { // as if nothing had been found
			for i := range c.items {
				s.order.Withdraw(c.items[i].Seq)
			}
			for _, p := range c.bad {
				s.order.Withdraw(p.key.Seq())
			}
			s.forgetFetched()
			return err
		}
		if r.changes == s.changes {
			c.install(r)
		}
	}
	s.untilKnown = s.untilKnown && !c.leavesDue()
	err := c.blocked
	if len(c.items)+len(c.bad) > 0 || c.releaseDue {
		err = nil // what can go may go
	} else if err == nil && c.read != nil && c.next != c.now {
		err = c.checkLedger()
	}
	s.publish()
	return err
}

// memoryWillDo reports whether the claim may begin with what was read ahead: memory must be able to tell of
// all sources, or the others would starve. An application may have closed its database, which memory
// would not notice.
func (c *claim) memoryWillDo() bool {
	s := c.s
	return s.file.Own() && !s.order.HasTurns() && s.nothingDue(c.now)
}

// handOut hands out items until there are enough, or no more that memory can tell. It reports whether one
// more was found that has to wait for the next Claim.
func (c *claim) handOut() (more bool) {
	for {
		p, src, ok := c.round.Next()
		if !ok {
			return false
		}
		f := c.found(p, src)
		size := len(f.item.Payload)
		if len(c.items) >= c.max || f.damage == nil && c.maxBytes > 0 && len(c.items) > 0 && c.bytes+size > c.maxBytes {
			c.s.oldest = f.item.Created
			return true
		}
		c.round.Take()
		if f.damage != nil {
			c.bad = append(c.bad, placeOf(p))
			continue
		}
		c.bytes += size
		c.items = append(c.items, f.item)
		if src == order.Ready {
			c.s.advance()
		}
	}
}

// found returns what was read of the item that the round has found.
func (c *claim) found(p order.Place, src order.Source) *fetched {
	switch src {
	case order.Turns:
		return find(c.turns, p)
	case order.Later:
		return find(c.due, p)
	}
	return &c.s.fetched[0]
}

func find(fs []fetched, p order.Place) *fetched {
	for i := range fs {
		if fs[i].place.Seq == p.Seq {
			return &fs[i]
		}
	}
	return nil
}

// placeOf is where an item lies in the file.
func placeOf(p order.Place) place {
	if p.Due != 0 {
		return place{later, format.LaterKey(p.Due, p.Seq, p.Key)}
	}
	return place{ready, format.ReadyKey(p.Seq)}
}

// Ready implements [order.Records].
func (c *claim) Ready(seq uint64) (there, ok bool) {
	f := find(c.turns, order.Place{Seq: seq})
	switch {
	case f == nil:
		c.needFile = true
		return false, false
	case f.blocked != nil:
		c.stop(f.blocked)
		return false, false
	}
	return !f.gone, true
}

// Due implements [order.Records].
func (c *claim) Due(after order.Place) (order.Place, bool) {
	for i := range c.due {
		f := &c.due[i]
		if p := f.place; p.Due > after.Due || p.Due == after.Due && p.Seq > after.Seq {
			if f.blocked != nil {
				c.stop(f.blocked)
				return order.Place{}, false
			}
			return p, true
		}
	}
	if !c.dueEnd && !c.s.nothingDue(c.now) {
		c.needFile = true
	}
	return order.Place{}, false
}

// Fresh implements [order.Records].
func (c *claim) Fresh(after uint64) (order.Place, bool) {
	s := c.s
	for len(s.fetched) > 0 && s.fetched[0].place.Seq <= after {
		s.advance()
	}
	if len(s.fetched) == 0 {
		if c.read == nil || !c.read.readyEnd {
			c.needFile = true
		}
		return order.Place{}, false
	}
	f := &s.fetched[0]
	if f.unread && !s.order.Taken(f.place.Key) && !s.order.InFlight(f.place.Seq) {
		s.forgetFetched() // its key was taken when it was read ahead
		c.needFile = true
		return order.Place{}, false
	}
	if f.blocked != nil {
		c.stop(f.blocked)
		s.fetched = nil // the next Claim tries again
		return order.Place{}, false
	}
	return f.place, true
}

// leavesDue reports whether an item of later that is due is not handed out. Only the file tells the next
// claim of it.
func (c *claim) leavesDue() bool {
	for i := range c.due {
		if !c.s.order.InFlight(c.due[i].place.Seq) {
			return true
		}
	}
	return false
}

// stop notes why a source has come to an end before its end.
func (c *claim) stop(err error) {
	if c.blocked == nil {
		c.blocked = err
	}
}

// checkLedger says what the ledger knows of that a claim which found nothing should have met.
func (c *claim) checkLedger() error {
	r, l := c.read, &c.read.ledger
	n := c.s.order.Counts()
	if !r.idle || n.InLine+n.InFlight+len(c.s.fetched) > 0 || c.s.order.HasTurns() {
		return nil
	}
	if l.Ready > 0 {
		return fmt.Errorf("%w: ready: nothing behind record %d, and the ledger has %d", ErrCorrupt, r.cursor, l.Ready)
	}
	if l.Timed > 0 && r.firstTimed == 0 {
		return fmt.Errorf("%w: timed: no records, and the ledger has %d", ErrCorrupt, l.Timed)
	}
	if l.Later > 0 && r.noLater {
		return fmt.Errorf("%w: later: no records, and the ledger has %d", ErrCorrupt, l.Later)
	}
	return nil
}

// noteDamage notes that damage is in the way of the lane, if that is what err says.
func (s *Store) noteDamage(err error) {
	if errors.Is(err, ErrCorrupt) {
		kept := err
		s.damage.Store(&kept)
	}
}
