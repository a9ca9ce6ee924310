package store

import (
	"context"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Mark returns the highest Seq that was assigned so far. Before that it moves every scheduled item
// whose time has come, by now, to the end of ready, so that mark includes it. See [sender.Marker].
func (s *Store) Mark(ctx context.Context, now time.Time) (seq uint64, err error) {
	if ctx == nil {
		return 0, s.wrap("mark", boltfile.ErrNilContext)
	}
	for due := true; due && err == nil; {
		if err = s.view(func(t *txn) error {
			seq = t.Root.Sequence()
			k, _ := t.Timed.Cursor().First()
			due = k != nil && format.Key(k).Due() <= format.Nanos(now)
			return nil
		}); err == nil && due {
			err = s.releaseDue(ctx, now)
		}
	}
	return seq, s.wrap("mark", err)
}

// Unsent reports whether an item with a Seq up to mark is in flight or could be sent at now. It may
// return true for an item of ready that waits behind another of its key. An item that became due
// after Mark has a Seq above mark. After an error it returns true. See [sender.Marker].
func (s *Store) Unsent(ctx context.Context, now time.Time, mark uint64) (unsent bool, err error) {
	if ctx == nil {
		return true, s.wrap("unsent", boltfile.ErrNilContext)
	}
	// Memory before the file: what memory does not name is in the file, or has been claimed since.
	// So memory again at the end: an item that was claimed meanwhile and recorded as Sending has
	// left ready.
	s.mu.Lock()
	unsent, cursor := s.order.Unsent(mark), s.order.Cursor()
	s.mu.Unlock()
	if unsent {
		return true, nil
	}
	err = s.view(func(t *txn) error {
		if k, _ := t.Ready.Cursor().Seek(format.ReadyKey(cursor + 1)); k != nil && format.Key(k).Seq() <= mark {
			unsent = true // the order has not met it yet: it may be free to go
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return unsent || s.order.Unsent(mark), nil
}

// Remains reports whether an item with a Seq up to mark is pending, for whatever reason. It reads
// the keys of scheduled and failed items until it finds one.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return remains || s.order.Sent(mark), s.wrap("remains", err)
}
