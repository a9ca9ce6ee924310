package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// Mark returns the highest Seq assigned so far, after it has made ready what was scheduled until now;
// see [sender.Marker].
func (s *Store) Mark(ctx context.Context, now time.Time) (seq uint64, err error) {
	for due := true; due && err == nil; {
		if err = s.view(func(t *txn) error {
			seq = t.Root.Sequence()
			k, _ := t.Timed.Cursor().First()
			due = k != nil && format.Key(k).Due() <= now.UnixNano()
			return nil
		}); err == nil && due {
			err = s.releaseDue(ctx, now)
		}
	}
	return seq, s.wrap("mark", err)
}

// Unsent reports whether an item up to mark could be sent now or is in flight; see [sender.Marker].
// An item whose time came since counts as one put at that moment.
func (s *Store) Unsent(ctx context.Context, now time.Time, mark uint64) (unsent bool, err error) {
	// Memory first: whatever it does not name is found in the file afterwards, or has been settled since.
	s.mu.Lock()
	unsent, cursor := s.order.Unsent(mark), s.order.Cursor()
	s.mu.Unlock()
	if unsent {
		return true, nil
	}
	err = s.view(func(t *txn) error {
		if k, _ := t.Ready.Cursor().Seek(format.ReadyKey(cursor + 1)); k != nil && format.Key(k).Seq() <= mark {
			unsent = true // the walk has yet to tell whether it waits behind another
		}
		due, c := s.clock.nanos(now), t.Later.Cursor()
		for k, _ := c.First(); k != nil && !unsent && format.Key(k).Due() <= due; k, _ = c.Next() {
			unsent = format.Key(k).Seq() <= mark
		}
		return ctx.Err()
	})
	if err != nil {
		return true, s.wrap("unsent", err)
	}
	return unsent, nil
}

// Remains reports whether an item up to mark is pending, whatever it waits for. It reads the keys of
// scheduled and failed items until it finds one.
func (s *Store) Remains(mark uint64) (remains bool, err error) {
	s.mu.Lock()
	remains = s.order.Sent(mark)
	s.mu.Unlock()
	if remains {
		return true, nil
	}
	err = s.view(func(t *txn) error {
		for _, b := range [...]*bolt.Bucket{t.Ready, t.Timed, t.Later} {
			c := b.Cursor()
			for k, _ := c.First(); k != nil && !remains; k, _ = c.Next() {
				if remains = format.Key(k).Seq() <= mark; len(k) == 8 {
					break // in order of Seq
				}
			}
		}
		return nil
	})
	return remains, err
}
