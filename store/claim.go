package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// claimSteps is how many entries one Claim looks at before it asks to be called again.
const claimSteps = 512

// Claim hands out due items; see [sender.Queue]. Expired ones are handed out like others.
func (s *Store) Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", context.Cause(ctx))
	}
	if s.closed.Load() {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", ErrClosed)
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
	c := claim{s: s, now: now, max: max, maxBytes: maxBytes}
	s.mu.Lock()
	err := s.file.view(c.run)
	if err != nil { // as if nothing had been found
		for i := range c.items {
			s.walk.land(c.items[i].Seq)
		}
		s.forget(c.bad)
	}
	s.publish()
	s.mu.Unlock()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", err)
	}
	if c.hurry {
		s.file.kick()
	}
	if len(c.bad) > 0 {
		if err = s.bury(c.bad); err != nil {
			s.mu.Lock()
			s.forget(c.bad)
			s.mu.Unlock()
		}
	}
	if c.promote {
		err = errors.Join(err, s.promote(ctx, now))
		c.next = now
	}
	if err != nil && len(c.items) == 0 {
		return nil, time.Time{}, fmt.Errorf("store: claim: %w", err)
	}
	return c.items, c.next, nil
}

// forget takes back that records were claimed, and has the walk begin anew. s.mu is held.
func (s *Store) forget(bad []place) {
	for _, p := range bad {
		s.walk.land(keySeq(p.key))
	}
	s.walk.stale = true
}

// claim is one call of Claim.
type claim struct {
	s             *Store
	now           time.Time
	max, maxBytes int

	w      *walk
	t      *txn
	due    int64 // now as a place in later
	later  *bolt.Cursor
	ready  *bolt.Cursor
	lk, lv []byte // the next of later; nil: none is due
	rk, rv []byte // the next of ready that may go; nil: not looked for
	rhash  uint64
	dry    [sources]bool // this source has nothing for us
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

func (c *claim) run(tx *bolt.Tx) (err error) {
	if c.t, err = openTxn(tx, c.s.bucket); err != nil {
		return err
	}
	c.s.ahead = c.s.ahead || c.t.ledger != c.s.ledger
	c.w = &c.s.walk
	if c.w.stale || c.w.flights == nil {
		c.w.rebuild(c.t.later)
	}
	c.due = c.s.file.steady(c.now)
	c.later, c.ready = c.t.later.Cursor(), c.t.ready.Cursor()
	c.lk, c.lv = c.later.First()
	c.timed, c.promote = c.firstTimed()
	c.s.oldest = time.Time{}
	for {
		src, ok := c.pick()
		if c.steps >= claimSteps {
			c.next = c.now
			return nil
		}
		if !ok {
			c.next = c.wait()
			return nil
		}
		_, v := c.candidate(src)
		if len(c.items) >= c.max || c.maxBytes > 0 && len(c.items) > 0 && c.bytes+payloadLen(v) > c.maxBytes {
			c.next = c.now
			c.s.oldest = recordCreated(v)
			return nil
		}
		c.take(src)
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
			if c.t.ready.Get(readyKey(t.seq)) != nil {
				return true
			}
			c.w.popTurn() // dropped by its owner
			c.passed(t.hash)
		case fromLater:
			// Those in flight are few: they do not count as steps.
			for c.lk != nil && c.w.flights[keySeq(c.lk)] != nil {
				c.lk, c.lv = c.later.Next()
			}
			return c.lk != nil && keyDue(c.lk) <= c.due
		case fromReady:
			if c.rk != nil {
				return true
			}
			if c.w.waiting >= maxWaiting {
				return false // let some of those who wait go first
			}
			k, v := c.ready.Seek(readyKey(c.w.cursor + 1))
			if k == nil {
				return false
			}
			seq := keySeq(k)
			if c.w.flights[seq] == nil {
				c.rhash = recordHash(v)
				l := c.w.taken[c.rhash]
				if c.rhash == 0 || l == nil {
					c.rk, c.rv = k, v
					return true
				}
				l.waiting = append(l.waiting, seq)
				c.w.waiting++
				if f := c.w.flights[l.head]; f != nil && f.settling {
					c.hurry = true
				}
			}
			c.w.cursor = seq
		}
	}
	return false
}

func (c *claim) candidate(src source) (k, v []byte) {
	switch src {
	case fromTurns:
		t, _ := c.w.turn()
		k = readyKey(t.seq)
		return k, c.t.ready.Get(k)
	case fromLater:
		return c.lk, c.lv
	default:
		return c.rk, c.rv
	}
}

// take hands out the item that pick found, and gives the next source its turn.
func (c *claim) take(src source) {
	k, v := c.candidate(src)
	it, err := decode(k, v)
	it.Seq = keySeq(k)
	hash, due := uint64(0), int64(0)
	switch src {
	case fromTurns:
		t, _ := c.w.turn()
		hash = t.hash
		c.w.popTurn()
	case fromLater:
		hash, due = keyHash(k), keyDue(k)
		it.Due = c.s.file.instant(due)
		c.lk, c.lv = c.later.Next()
	case fromReady:
		hash = c.rhash
		c.w.cursor, c.rk = it.Seq, nil
	}
	c.steps++
	c.w.next++
	c.w.fly(it.Seq, &flight{hash: hash, due: due})
	c.dry[fromTurns] = false
	if err != nil {
		c.bad = append(c.bad, place{bytes.Clone(k), hash})
		return
	}
	c.bytes += len(it.Payload)
	c.items = append(c.items, it)
}

// passed gives a key's turn to the next in line, in the middle of a claim.
func (c *claim) passed(hash uint64) {
	c.w.pass(hash)
	c.dry[fromTurns] = false
}

// firstTimed tells when the first scheduled item is due, and whether its time has come.
func (c *claim) firstTimed() (time.Time, bool) {
	if c.t.ledger.Timed == 0 {
		return time.Time{}, false
	}
	k, _ := c.t.timed.Cursor().First()
	if k == nil {
		return time.Time{}, false
	}
	wall := c.now.Round(0)
	left := time.Unix(0, keyDue(k)).Sub(wall)
	return c.now.Add(left), left <= 0
}

// wait tells when more will be due, by what lies first in timed and in later.
func (c *claim) wait() time.Time {
	next := c.timed
	if c.lk != nil {
		if due := c.s.file.instant(keyDue(c.lk)); next.IsZero() || due.Before(next) {
			next = due
		}
	}
	return next
}

// promote moves scheduled items whose time has come to the end of ready, under a new Seq: their place
// in the order is that moment. The wall clock decides.
func (s *Store) promote(ctx context.Context, now time.Time) error {
	return s.file.do(ctx, &write{lane: s, apply: func(t *txn) error {
		for range maxGroup {
			k, v := t.timed.Cursor().First()
			if k == nil || keyDue(k) > now.UnixNano() {
				return nil
			}
			seq, err := t.root.NextSequence()
			if err != nil {
				return err
			}
			from, to, rec := bytes.Clone(k), readyKey(seq), bytes.Clone(v)
			reseal(rec, from, to)
			if err := t.timed.Delete(from); err != nil {
				return err
			}
			if err := t.ready.Put(to, rec); err != nil {
				return err
			}
			t.ledger.Timed--
			t.ledger.Ready++
			t.appended = true
		}
		return nil
	}}, 0)
}

// bury moves claimed records that do not decode to the dead.
func (s *Store) bury(bad []place) error {
	return s.file.do(context.Background(), &write{
		lane: s,
		apply: func(t *txn) error {
			for _, p := range bad {
				from := entry{t.ready, p.key, &t.ledger.Ready, &t.ledger.Bytes}
				if len(p.key) > 8 {
					from = t.inLater(p.key)
				}
				if from.bucket.Get(p.key) == nil {
					continue // dropped by its owner
				}
				if err := t.bury(from, s.file.now()); err != nil {
					return err
				}
			}
			return nil
		},
		after: func() {
			for _, p := range bad {
				s.walk.land(keySeq(p.key))
				s.walk.pass(p.hash)
			}
		},
	}, 0)
}
