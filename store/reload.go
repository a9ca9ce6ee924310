package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// reload reads from the file what memory holds of it. It is how a lane starts, and how it goes on
// after a commit whose outcome is unknown; what is in flight stays so.
func (s *Store) reload() error {
	var (
		t    *txn
		id   uint64
		told struct{ until, at int64 }
		old  time.Time
	)
	s.mu.Lock()
	err := s.file.view(func(tx *bolt.Tx) (err error) {
		if t, err = openTxn(tx, s.bucket); err != nil {
			return err
		}
		if err := t.CheckLane(s.bucket); err != nil {
			return fmt.Errorf("lane %q: %w", s.name, err)
		}
		id = uint64(tx.ID())
		told.until, told.at = t.Paused()
		s.file.grown(t.Largest())
		if _, v := t.Ready.Cursor().First(); v != nil {
			old = format.Record(v).Created()
		}
		for seq, f := range s.walk.flights {
			s.walk.moved(f, format.Record(t.Dead.Get(format.ReadyKey(seq))).IsSending())
		}
		return nil
	})
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.ledger, s.txid, s.longest = t.Ledger, id, t.Longest
	s.walk.stale, s.ahead = true, false
	s.damage.Store(nil)
	s.oldest = old
	if s.pause.IsZero() && told.until > told.at {
		// A pause never lasts longer than it was told, whatever the clock did meanwhile.
		left := min(time.Duration(told.until-s.file.steady(s.file.now())), time.Duration(told.until-told.at))
		if left > 0 {
			s.pause = s.file.now().Add(left)
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

// straighten pulls back retries that a clock which was wrong has put further ahead than any delay
// ever granted. later is sorted by time, so that its last key tells.
func (s *Store) straighten() error {
	s.mu.Lock()
	longest := s.longest
	s.mu.Unlock()
	latest := s.file.steady(s.file.now()) + int64(longest)
	wrong := func(b *bolt.Bucket) []byte {
		if k, _ := b.Cursor().Last(); len(k) == 24 && format.Key(k).Due() > latest {
			return k
		}
		return nil
	}
	for {
		some := false
		if err := s.file.view(func(tx *bolt.Tx) error {
			t, err := openTxn(tx, s.bucket)
			some = err == nil && wrong(t.Later) != nil
			return err
		}); err != nil || !some {
			return err
		}
		err := s.file.do(context.Background(), &write{lane: s, apply: func(t *txn) error {
			for range maxGroup {
				k := wrong(t.Later)
				if k == nil {
					return nil
				}
				from, rec := bytes.Clone(k), bytes.Clone(t.Later.Get(k))
				to := format.LaterKey(latest, format.Key(from).Seq(), format.Key(from).Hash())
				format.Record(rec).MoveSum(from, to)
				if err := errors.Join(t.Later.Delete(from), t.Later.Put(to, rec)); err != nil {
					return err
				}
			}
			return nil
		}}, 0)
		if err != nil {
			return err
		}
	}
}
