package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// claimSteps is how many entries one Claim looks at before it asks to be called again.
const claimSteps = 512

// Claim hands out due items; see [sender.Queue]. Expired ones are handed out like others.
func (s *Store) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", context.Cause(ctx))
	}
	if s.closed.Load() {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", sender.ErrClosed)
	}
	if s.file.failure() != nil {
		// A commit of nothing heals the file, or says why it cannot be healed.
		if err := s.file.do(ctx, &write{lane: s}, 0); err != nil {
			return nil, time.Time{}, fmt.Errorf("store: claim: %w", err)
		}
	}
	if until := s.Paused(); until.After(now) {
		return nil, until, nil
	}
	c := claim{s: s, w: &s.walk, now: now, max: max, maxBytes: maxBytes}
	s.mu.Lock()
	var err error
	if !c.recall() {
		err = s.file.view(c.run)
	}
	if err != nil { // as if nothing had been found
		for i := range c.items {
			s.walk.land(c.items[i].Seq)
		}
		s.forget(c.bad)
	} else if len(c.items)+len(c.bad) == 0 && !c.promote {
		err = c.stuck // else those that can go may
	}
	s.noteDamage(errors.Join(err, c.stuck))
	s.publish()
	s.mu.Unlock()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", err)
	}
	if c.hurry {
		s.file.kick()
	}
	if len(c.bad) > 0 {
		// What cannot be removed stays in flight: it would be met again at once.
		if err = s.buryAll(c.bad); err != nil && !errors.Is(err, ErrCorrupt) {
			s.mu.Lock()
			s.forget(c.bad)
			s.mu.Unlock()
		}
	}
	if c.promote {
		err = errors.Join(err, s.promote(ctx, now))
		c.next = now
	}
	s.noteDamage(err)
	if err != nil && len(c.items) == 0 {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", err)
	}
	return c.items, c.next, nil
}

// forget takes back that records were claimed, and has the walk begin anew. s.mu is held.
func (s *Store) forget(bad []place) {
	for _, p := range bad {
		s.walk.land(format.Key(p.key).Seq())
	}
	s.walk.stale = true
}

// claim is one call of Claim.
type claim struct {
	s             *Store
	now           time.Time
	max, maxBytes int

	w      *walk
	t      *txn  // nil: memory must do
	due    int64 // now as a place in later
	later  *bolt.Cursor
	lk, lv []byte        // the next of later; nil: none
	dry    [sources]bool // this source has nothing for us
	thirst bool          // one might have, but for that it takes a transaction
	stuck  error         // why the next record of a source cannot be handed out; nil: it can
	timed  time.Time     // when the first scheduled item is due; zero: there is none
	steps  int
	bytes  int

	items   []sender.Item
	next    time.Time
	bad     []place // records that do not decode
	promote bool    // the time of a scheduled item has come
	hurry   bool    // somebody waits for a key whose outcome waits for company
}

// place is where a record lies.
type place struct {
	key  []byte
	hash uint64
}

// recall serves the claim from what was read ahead, if that will do: most claims of a busy lane need no
// transaction, which takes ten times as long. It reports whether it did. An application may close its
// database, which memory would not notice.
func (c *claim) recall() bool {
	w := c.w
	if !c.s.file.own || w.stale || !w.known || len(w.near) == 0 || w.hasTurns() || !w.until.IsZero() && !w.until.After(c.now) {
		return false
	}
	next := w.next
	if err := c.walkOn(); err != nil || c.thirst && len(c.items) < max(c.max, 1) {
		w.next = next // the file has the rest
		return false
	}
	switch {
	case c.thirst:
		c.next = c.now
	case c.next.IsZero():
		c.next = w.until
	}
	return true
}

// run serves it from the file.
func (c *claim) run(tx *bolt.Tx) (err error) {
	if c.t, err = openTxn(tx, c.s.bucket); err != nil {
		return err
	}
	c.s.ahead = c.s.ahead || c.t.Ledger != c.s.ledger
	if c.w.stale || c.w.flights == nil {
		c.w.rebuild(c.t.Later)
	}
	c.due = c.s.file.steady(c.now)
	c.later = c.t.Later.Cursor()
	c.toLater(c.later.First())
	c.timed, c.promote = c.firstTimed()
	c.s.oldest = time.Time{}
	c.dry = [sources]bool{}
	err = c.walkOn()
	c.w.until, c.w.known = c.wait(), true
	return err
}

// walkOn hands out items until there are enough, or no more.
func (c *claim) walkOn() error {
	for {
		src, ok := c.pick()
		if c.steps >= claimSteps {
			c.next = c.now
			return nil
		}
		if !ok {
			c.next = c.wait()
			if c.t != nil && c.stuck == nil {
				c.stuck = c.t.checkLedger(c.w)
			}
			return nil
		}
		taken := false
		if len(c.items) < c.max {
			var err error
			if taken, err = c.take(src); err != nil && len(c.items)+len(c.bad) == 0 {
				return err
			}
		}
		if !taken {
			c.next = c.now
			c.s.oldest = c.created(src)
			return nil
		}
	}
}

// pick finds the next source that has an item for us, leaving the item where it is.
func (c *claim) pick() (source, bool) {
	for range sources {
		src := c.w.next % sources
		if !c.dry[src] && c.seek(src) {
			return src, true
		}
		if c.steps >= claimSteps {
			return 0, false
		}
		c.dry[src] = true
		c.w.next++
	}
	return 0, false
}

// seek moves a source to its next item that may go.
func (c *claim) seek(src source) bool {
	for ; c.steps < claimSteps; c.steps++ {
		switch src {
		case fromTurns:
			t, ok := c.w.turn()
			if !ok {
				return false
			}
			if c.t.Ready.Get(format.ReadyKey(t.seq)) != nil {
				return true
			}
			c.w.popTurn() // dropped by its owner
			c.passed(t.hash)
		case fromLater:
			// Those in flight are few: they do not count as steps.
			for c.lk != nil && c.w.flights[format.Key(c.lk).Seq()] != nil {
				c.toLater(c.later.Next())
			}
			if c.lk != nil && format.Key(c.lk).Due() <= c.due && c.t.Later.Get(c.lk) == nil {
				c.stop(format.Unreachable("later", c.lk))
				c.lk, c.lv = nil, nil
			}
			return c.lk != nil && format.Key(c.lk).Due() <= c.due
		case fromReady:
			if c.w.waiting >= maxWaiting {
				return false // let some of those who wait go first
			}
			if len(c.w.near) == 0 && !c.readAhead() {
				return false
			}
			n := &c.w.near[0]
			l, taken := c.w.taken[n.hash]
			if !taken {
				if n.read {
					return true
				}
				if c.t == nil {
					c.thirst = true
					return false
				}
				if k := format.ReadyKey(n.item.Seq); c.read(n, k, c.t.Ready.Get(k)) {
					return true
				}
				if c.stuck != nil {
					return false
				} // else it was dropped by its owner
			} else {
				l.waiting = append(l.waiting, n.item.Seq)
				c.w.taken[n.hash] = l
				c.w.waiting++
				if f := c.w.flights[l.head]; f != nil && f.settling {
					c.hurry = true
				}
			}
			c.w.advance()
		}
	}
	return false
}

// candidate is the record of a turn, or the next of later.
func (c *claim) candidate(src source) (k, v []byte) {
	if src == fromLater {
		return c.lk, c.lv
	}
	t, _ := c.w.turn()
	k = format.ReadyKey(t.seq)
	return k, c.t.Ready.Get(k)
}

// created is when the item that pick found was made.
func (c *claim) created(src source) time.Time {
	if src == fromReady {
		return c.w.near[0].item.Created
	}
	_, v := c.candidate(src)
	return format.Record(v).Created()
}

// take hands out the item that pick found, and gives the next source its turn. One that is too much for
// maxBytes stays where it is, as does one that cannot be opened now, which is an error.
func (c *claim) take(src source) (taken bool, err error) {
	var it sender.Item
	hash, due := uint64(0), int64(0)
	if src == fromReady {
		n := &c.w.near[0]
		it, hash, err = n.item, n.hash, n.damage
	} else {
		k, v := c.candidate(src)
		it, err = c.s.sendable(k, v)
		it.Seq = format.Key(k).Seq()
		if errors.Is(err, ErrSealed) {
			return false, fmt.Errorf("item %v: %w", format.Record(v).ID(), err)
		}
	}
	if err == nil && c.maxBytes > 0 && len(c.items) > 0 && c.bytes+len(it.Payload) > c.maxBytes {
		return false, nil
	}
	var p place
	switch src {
	case fromTurns:
		t, _ := c.w.turn()
		hash = t.hash
		c.w.popTurn()
	case fromLater:
		if err != nil {
			p.key = bytes.Clone(c.lk)
		}
		hash, due = format.Key(c.lk).Hash(), format.Key(c.lk).Due()
		it.Due = c.s.file.instant(due)
		c.toLater(c.later.Next())
	case fromReady:
		c.w.advance()
	}
	c.steps++
	c.w.next++
	c.w.fly(it.Seq, hash, due)
	c.dry[fromTurns] = false
	if err != nil {
		if p.hash = hash; p.key == nil {
			p.key = format.ReadyKey(it.Seq)
		}
		c.bad = append(c.bad, p)
		return true, nil
	}
	c.bytes += len(it.Payload)
	c.items = append(c.items, it)
	return true, nil
}

// sendable decodes a record that is not among the dead.
func (s *Store) sendable(k, v []byte) (sender.Item, error) {
	it, err := s.vault.decode(k, v)
	if err == nil && format.Record(v).IsDamaged() {
		err = errors.New("it is marked as damaged, which only a dead one may be")
	}
	return it, err
}

// toLater moves on to an entry of later; nil: there is no more.
func (c *claim) toLater(k, v []byte) {
	if k != nil {
		err := c.t.CheckEntry("later", k, v, 24)
		if err == nil {
			err = format.CheckOrder("later", c.lk, k)
		}
		if err != nil {
			c.stop(err)
			k, v = nil, nil
		}
	}
	c.lk, c.lv = k, v
}

// stop notes why a source has come to an end before its end.
func (c *claim) stop(err error) { c.stuck = cmp.Or(c.stuck, err) }

// passed gives a key's turn to the next in line, in the middle of a claim.
func (c *claim) passed(hash uint64) {
	c.w.pass(hash)
	c.dry[fromTurns] = false
}

// firstTimed tells when the first scheduled item is due, and whether its time has come.
func (c *claim) firstTimed() (time.Time, bool) {
	if c.t.Ledger.Timed == 0 {
		return time.Time{}, false
	}
	k, v := c.t.Timed.Cursor().First()
	if k == nil {
		return time.Time{}, false
	}
	if err := c.t.CheckEntry("timed", k, v, 16); err != nil {
		c.stop(err)
		return time.Time{}, false
	}
	wall := c.now.Round(0)
	left := time.Unix(0, format.Key(k).Due()).Sub(wall)
	return c.now.Add(left), left <= 0
}

// wait tells when more will be due, by what lies first in timed and in later.
func (c *claim) wait() time.Time {
	next := c.timed
	if c.lk != nil {
		if due := c.s.file.instant(format.Key(c.lk).Due()); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}
