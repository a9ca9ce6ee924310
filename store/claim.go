package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// claimSteps is how many items one Claim looks at before it asks the caller to call again.
const claimSteps = 512

// maxReadings is how many times one Claim reads the file at most. A reading is thrown away when a
// commit or an outcome has made it wrong.
const maxReadings = 16

// Claim hands out due items: at most max, with payloads of about maxBytes bytes in all, and one at
// least if max is above 0. maxBytes 0: no limit. With max 0 it only tells whether an item is due.
// The time is when to call again: zero: after the next wake; not after now: at once. See
// [sender.Queue].
//
// Expired items are handed out like others. Records that do not decode go to dead. [ErrSealed]: the
// next record cannot be opened now. [ErrCorrupt]: damage hides the next record. Calls run one after
// another.
func (s *Store) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if ctx == nil {
		return nil, time.Time{}, s.wrap("claim", boltfile.ErrNilContext)
	}
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, s.wrap("claim", context.Cause(ctx))
	}
	if s.closed.Load() {
		return nil, time.Time{}, s.wrap("claim", sender.ErrClosed)
	}
	if s.file.Err() != nil {
		// An empty commit heals the file, or returns why that is not possible.
		if err := s.do(ctx, s.newWrite(), 0); err != nil {
			return nil, time.Time{}, s.wrap("claim", err)
		}
	}
	if next, paused := s.paused(now); paused {
		return nil, next, nil
	}
	s.claims.Lock()
	defer s.claims.Unlock()
	c := &s.claiming
	*c = claim{s: s, now: now, max: max, maxBytes: maxBytes}
	defer func() { *c = claim{} }() // it must not keep payloads in memory
	err := c.run(ctx)
	s.noteDamage(errors.Join(err, c.blocked))
	if err != nil {
		return nil, time.Time{}, s.wrap("claim", err)
	}
	if c.round.Awaited() {
		s.file.FlushGathered()
	}
	if len(c.bad) > 0 {
		// A damaged record that cannot be moved stays in flight: the next Claim must not meet it.
		if err = s.quarantineAll(c.bad); err != nil && !errors.Is(err, ErrCorrupt) {
			s.mu.Lock()
			for _, p := range c.bad {
				s.order.Withdraw(p.key.Seq())
			}
			s.mu.Unlock()
		}
	}
	if c.releaseDue {
		if c.next = now; len(c.items) > 0 {
			s.releaseAllDue() // these must not wait for the commits
		} else {
			err = errors.Join(err, s.releaseDue(ctx, now))
		}
	}
	s.noteDamage(err)
	if err != nil && len(c.items) == 0 {
		return nil, time.Time{}, s.wrap("claim", err)
	}
	return c.items, c.next, nil
}

// A claim is one call of Claim. Three types work together:
//
//   - order.Order (Store.order) decides which item goes next. It knows in memory which keys are
//     taken, which items are in flight or wait in line, and the cursor: the highest Seq of ready
//     that it has met. It knows no records.
//   - order.Round asks the three sources in turn: Turns (items of ready whose key became free),
//     Later (failed items that are due) and Ready (new items beyond the cursor). It asks by the
//     methods Ready, Due and Fresh of claim. A method that cannot answer from memory sets needFile
//     and returns false. The Round then leaves that source out until Resume.
//   - reading is one look at the file. plan decides what to read, with Store.mu held. from reads
//     it, without Store.mu. install takes over what was found, with Store.mu held, and calls
//     Resume.
//
// run repeats: hand out what memory can tell; if that needs the file, plan, read, install. A
// reading is installed only if Store.changes is as it was at plan. Most claims of a busy lane need
// no reading: ready is read ahead into Store.fetched. A read transaction costs ten times as much.
//
// Invariants:
//
//   - Store.mu is held while items are handed out, and not while the file is read.
//   - Only Claim puts items in flight, and only one Claim runs (Store.claims). So an item that was
//     read and was not in flight then can only have been dropped since. Store.changes counts that,
//     and each outcome that adds to what a reading has left out.
//   - A claim belongs to the goroutine that holds Store.claims. Its fields need no other lock.
//   - Claim itself writes nothing. quarantineAll and releaseDue commit afterwards, without
//     Store.mu; releaseAllDue beside Claim. A crash forgets what was handed out, and the next
//     process claims it again.
type claim struct {
	s             *Store
	now           time.Time
	max, maxBytes int

	round    order.Round
	read     *reading // the latest that was installed; nil: none
	readings int
	needFile bool       // a source cannot answer without the file
	due      []fetched  // items of later that are due, as read, by Due and Seq
	dueEnd   bool       // due holds all items of later that are due
	turns    []fetched  // items of ready that have their turn, as read
	lastDue  format.Key // where the next reading of later begins; nil: at its beginning
	blocked  error      // why a source stopped early: damage, or a record that cannot be opened
	bytes    int        // of the payloads of items
	items    []sender.Item
	next     time.Time // the second result of Claim
	bad      []place   // places of records that do not decode; they are in flight

	releaseDue bool // a scheduled item is due
}

// run fills c.items. After an error, or if ctx ends while the file is read, nothing is handed out.
func (c *claim) run(ctx context.Context) error {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	c.round = s.order.Begin(c, claimSteps)
	for {
		if s.OperatorPause().On(c.now) { // since this Claim began; the next one tells how long
			c.next = c.now
			s.publish()
			return nil
		}
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
			c.next = c.now // there may be more, which needs the file
			break
		}
		r := c.plan()
		s.mu.Unlock()
		err := s.view(r.from)
		s.mu.Lock()
		if err == nil {
			err = ctx.Err() // during the read the sender may have gone, and another one be attached
		}
		if err != nil { // take back all that was handed out
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
		} else {
			c.discard()
		}
	}
	s.untilKnown = s.untilKnown && !c.leavesDue()
	err := c.blocked
	if len(c.items)+len(c.bad) > 0 || c.releaseDue {
		err = nil // the error can wait, what was found is handed out first
	} else if err == nil && c.read != nil && c.next != c.now {
		err = c.checkLedger()
	}
	s.publish()
	return err
}

// memoryWillDo reports whether the claim may begin without the file, with what was read ahead of
// ready. It may not when another source may have an item, because ready would starve that source.
// It may not in an application's database either: memory would not notice that the database is
// closed.
func (c *claim) memoryWillDo() bool {
	s := c.s
	return s.file.Own() && !s.order.HasTurns() && s.nothingDue(c.now)
}

// handOut hands out items until there are enough, or memory can tell of no more. more: another item
// was found, which has to wait for the next Claim.
func (c *claim) handOut() (more bool) {
	for {
		p, src, ok := c.round.Next()
		if !ok {
			return false
		}
		f := c.found(p, src)
		size := len(f.item.Payload)
		if len(c.items) >= c.max || f.damage == nil && c.maxBytes > 0 && len(c.items) > 0 && c.bytes+size > c.maxBytes {
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

// found returns what was read of the item that the Round has found.
func (c *claim) found(p order.Place, src order.Source) *fetched {
	switch src {
	case order.Turns:
		return find(c.turns, p)
	case order.Later:
		return find(c.due, p)
	}
	return &c.s.fetched[0]
}

// find returns what was read of the item with the Seq of p; nil: it was not read.
func find(fs []fetched, p order.Place) *fetched {
	for i := range fs {
		if fs[i].place.Seq == p.Seq {
			return &fs[i]
		}
	}
	return nil
}

// placeOf is where an item is in the file.
func placeOf(p order.Place) place {
	if p.Due != 0 {
		return place{later, format.LaterKey(p.Due, p.Seq, p.Key)}
	}
	return place{ready, format.ReadyKey(p.Seq)}
}

// Ready implements [order.Records] for items that have their turn.
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

// Due implements [order.Records] for failed items.
func (c *claim) Due(after order.Place) (order.Place, bool) {
	for i := range c.due {
		f := &c.due[i]
		if p := f.place; p.Due > after.Due || p.Due == after.Due && p.Seq > after.Seq {
			if f.blocked != nil {
				c.stop(f.blocked)
				return order.Place{}, false
			}
			if slices.Contains(c.s.moving, p.Seq) {
				continue // its place is about to change, and an outcome would not find it
			}
			return p, true
		}
	}
	if !c.dueEnd && !c.s.nothingDue(c.now) {
		c.needFile = true
	}
	return order.Place{}, false
}

// Fresh implements [order.Records] for new items. It drops items up to the cursor from
// Store.fetched.
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
		s.forgetFetched() // it was not decoded, because its key was taken when it was read ahead
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

// leavesDue reports whether an item of later that is due is not handed out. Only the file tells the
// next claim of it.
func (c *claim) leavesDue() bool {
	for i := range c.due {
		if !c.s.order.InFlight(c.due[i].place.Seq) {
			return true
		}
	}
	return false
}

// stop notes why a source stops before its end. The first reason counts.
func (c *claim) stop(err error) {
	if c.blocked == nil {
		c.blocked = err
	}
}

// checkLedger compares the ledger with a claim that found nothing although nothing was in flight or
// in line. If the ledger counts items, they are unreachable, which is damage.
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

// noteDamage makes Counts report err, if it is damage.
func (s *Store) noteDamage(err error) {
	if errors.Is(err, ErrCorrupt) {
		kept := err
		s.damage.Store(&kept)
	}
}
