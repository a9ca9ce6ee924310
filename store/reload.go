package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// reload reads from the file what memory holds of it. It is how a lane starts, and how it goes on
// after a commit whose outcome is unknown; what is in flight stays so.
//
// Nothing but an application's own transaction can commit meanwhile. Claim can: what it hands out is not
// yet recorded as Sending.
func (s *Store) reload() error {
	s.mu.Lock()
	var flights []uint64
	for seq := range s.order.Flights() {
		flights = append(flights, seq)
	}
	s.mu.Unlock()
	var (
		l    format.Lane
		id   uint64
		told struct{ until, at int64 }
		old  time.Time
		sent = make(map[uint64]bool)
	)
	if err := s.view(func(t *txn) error {
		if err := t.CheckLane(s.bucket); err != nil {
			return fmt.Errorf("lane %q: %w", s.name, err)
		}
		l, id = t.Lane, uint64(t.Root.Tx().ID())
		told.until, told.at = t.Paused()
		s.file.NoteLargest(t.Largest())
		if _, v := t.Ready.Cursor().First(); v != nil {
			old = format.Record(v).Created()
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
	s.ahead = false
	s.damage.Store(nil)
	s.oldest = old
	if s.pause.IsZero() && told.until > told.at {
		// A pause never lasts longer than it was told, whatever the clock did meanwhile.
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

// clampRetries pulls back retries that a clock which was wrong has put further ahead than any delay
// ever granted. later is sorted by time, so that its last key tells.
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
