package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// reload reads what memory knows of the lane from the file: at Open, and after a commit of unknown
// outcome. Items in flight stay in flight.
//
//   - The commit goroutine calls it, or Open before the lane is in use. So no commit of this file
//     runs at the same time, except a transaction of the application.
//   - A Claim may run at the same time. What it hands out after flights was read cannot be in dead:
//     its Sending has not been committed.
//   - It makes the order stale. The next Claim rebuilds the order from later.
//   - A crash before it returns changes nothing: it writes nothing.
func (s *Store) reload() error {
	s.mu.Lock()
	var flights []uint64
	for seq := range s.order.Flights() {
		flights = append(flights, seq)
	}
	s.mu.Unlock()
	var (
		l       format.Lane
		id      uint64
		told    struct{ until, at int64 }
		ordered sender.Pause
		first   time.Time // Created of the first record of ready
		retries ages
		sent    = make(map[uint64]bool)
	)
	if err := s.view(func(t *txn) error {
		if err := t.CheckLane(s.bucket); err != nil {
			return fmt.Errorf("lane %q: %w", s.name, err)
		}
		var err error
		if ordered, err = t.Operator(); err != nil {
			return fmt.Errorf("lane %q: %w", s.name, err)
		}
		l, id = t.Lane, uint64(t.Root.Tx().ID())
		told.until, told.at = t.Paused()
		s.file.NoteLargest(t.Largest())
		_, v := t.Ready.Cursor().First()
		first = format.Record(v).Created()
		c := t.Later.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(k) == 24 {
				retries.add(age{format.Key(k).Due(), format.Record(v).Created()})
			}
		}
		for _, seq := range flights {
			sent[seq] = t.at(place{dead, format.ReadyKey(seq)}).IsSending()
		}
		return nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	s.order.Invalidate(func(seq uint64) bool { return sent[seq] })
	s.forgetFetched()
	s.ledger, s.txid, s.longest = l.Ledger, id, l.Longest
	s.ahead, s.unreported = false, 0
	s.damage.Store(nil)
	s.firstReady, s.retries = first, retries
	s.operator.Store(&ordered)
	s.moving = nil
	if told.at == 0 {
		s.pause = time.Time{} // there is none, or it was cleared
	}
	if s.pause.IsZero() && told.until > told.at {
		// A wrong clock must not make a pause longer than the destination asked for.
		now := s.clock.now()
		left := min(time.Duration(told.until-s.clock.nanos(now)), time.Duration(told.until-told.at))
		if left > 0 {
			s.pause = now.Add(left)
		}
	}
	s.publish()
	wake := s.wake
	s.mu.Unlock()
	if wake != nil {
		wake()
	}
	return nil
}

// clampRetries corrects retries that are further ahead than the longest delay that a retry was ever
// given: the clock was wrong when they were stored. It moves them to that delay from now. later is
// sorted by time, so its last key shows whether any is left. After a crash the next Open goes on.
func (s *Store) clampRetries() error {
	s.mu.Lock()
	longest := s.longest
	s.mu.Unlock()
	latest := s.clock.nanos(s.clock.now()) + int64(longest)
	wrong := func(t *txn) format.Key {
		if k, _ := t.Later.Cursor().Last(); len(k) == 24 && format.Key(k).Due() > latest {
			return k
		}
		return nil
	}
	for {
		some := false
		if err := s.view(func(t *txn) error { some = wrong(t) != nil; return nil }); err != nil || !some {
			return err
		}
		if err := s.update(context.Background(), func(t *txn) error {
			for range maxMoves {
				k := wrong(t)
				if k == nil {
					return nil
				}
				from := place{later, slices.Clone(k)}
				if err := t.rekey(from, place{later, format.LaterKey(latest, k.Seq(), k.Hash())}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
}
