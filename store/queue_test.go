package store

import (
	"context"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// subject is a Store with the abilities that the suite asks for.
type subject struct {
	*Store
	t        *testing.T
	failures atomic.Int32
	applied  atomic.Bool
	err      error
}

func newSubject(t *testing.T, path string, o *Options) *subject {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	sub := &subject{Store: s, t: t}
	s.Fault(sub.fault)
	t.Cleanup(func() { sub.close() })
	return sub
}

// close ends every test of the suite with Check, and leaves the path free.
func (s *subject) close() {
	s.t.Helper()
	if s.closed.Load() {
		return
	}
	s.failures.Store(0)
	if err := s.Check(context.Background()); err != nil {
		s.t.Error(err)
	}
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *subject) fault(committed bool) error {
	if s.applied.Load() == committed && s.failures.Load() > 0 {
		return s.err
	}
	return nil
}

func (s *subject) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	s.mu.Lock()
	released := !slices.ContainsFunc(outcomes, func(o sender.Outcome) bool {
		p := order.Place{Seq: o.Item.Seq}
		if !o.Item.Due.IsZero() {
			p.Due = s.clock.nanos(o.Item.Due)
		}
		_, mayBeSent := s.order.MarkSettling(p, order.Released)
		return o.Verdict != sender.Released || !o.PauseUntil.IsZero() || mayBeSent
	})
	s.mu.Unlock()
	if released && len(outcomes) > 0 && s.failures.Load() > 0 {
		s.failures.Add(-1) // it needs no commit that could be made to fail; after an error they are still held
		return s.err
	}
	err := s.Store.Settle(ctx, outcomes...)
	if len(outcomes) > 0 && s.failures.Load() > 0 {
		s.failures.Add(-1)
	}
	return err
}

func (s *subject) FailNext(n int, err error, applied bool) {
	s.err = err
	s.applied.Store(applied)
	s.failures.Store(int32(n))
}

func (s *subject) Reopen(t *testing.T) sendertest.Queue {
	t.Helper()
	s.close()
	return newSubject(t, s.Path(), &s.opts)
}

func (s *subject) Dead() (dead []sender.Item) {
	for it, err := range s.Store.Dead() {
		if err != nil {
			s.t.Error(err)
		}
		dead = append(dead, it)
	}
	return dead
}

// items finds items, pending or dead.
func (s *subject) items(seqs []uint64) (items []sender.Item) {
	for it, err := range s.Pending() {
		if err == nil && slices.Contains(seqs, it.Seq) {
			items = append(items, it)
		}
	}
	for _, it := range s.Dead() {
		if slices.Contains(seqs, it.Seq) {
			items = append(items, it)
		}
	}
	return items
}

func (s *subject) Drop(seqs ...uint64) {
	if _, err := s.Store.Drop(context.Background(), s.items(seqs)...); err != nil {
		s.t.Error(err)
	}
}

func (s *subject) Revive(seqs ...uint64) {
	if _, err := s.Store.Revive(context.Background(), s.items(seqs)...); err != nil {
		s.t.Error(err)
	}
}

func TestQueue(t *testing.T) {
	t.Parallel()
	sendertest.Test(t, func(t *testing.T) sendertest.Queue {
		return newSubject(t, filepath.Join(t.TempDir(), "outbox"), nil)
	})
}
