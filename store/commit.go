package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// A write is one change of the lane. It waits to share a commit with others.
//
//   - Its caller fills it in and passes it to do. The commit goroutine owns it until it is
//     answered.
//   - All that it changes is in one transaction. A crash leaves all of it or nothing.
//   - The same write may be applied again after a failed commit, so nothing that apply sets may
//     depend on an earlier call.
type write struct {
	boltfile.Write // Change is the write itself

	create   bool       // creates the lane first, if there is none
	records  []prepared // to append
	outcomes []settling // to apply, sorted by place among the outcomes of all writes
	// apply makes a change after the records are appended. A refused error means that it changed
	// nothing; any other error undoes the whole commit. Only the commit goroutine calls it.
	apply func(*txn) error
	// after updates memory once the commit is on disk. Store.mu is held.
	after func()
}

// newWrite returns a write that changes nothing yet.
func (s *Store) newWrite() *write {
	w, _ := s.writes.Get().(*write)
	if w == nil {
		w = new(write)
	}
	w.Lane, w.Change = (*lane)(s), w
	return w
}

// reuse keeps the memory of a write that was answered without an error. The caller must not use it
// afterwards.
func (s *Store) reuse(w *write) {
	if cap(w.records)+cap(w.outcomes) > boltfile.MaxGroup {
		return
	}
	clear(w.records)
	clear(w.outcomes)
	w.Reset()
	w.create, w.apply, w.after = false, nil, nil
	w.records, w.outcomes = w.records[:0], w.outcomes[:0]
	s.writes.Put(w)
}

// again returns a new write for the change of w. w itself cannot be used again: it was answered
// with an error or withdrawn, and the commit goroutine may still read it.
func (s *Store) again(w *write) *write {
	n := s.newWrite()
	n.Items, n.Bytes, n.Largest, n.Scattered = w.Items, w.Bytes, w.Largest, w.Scattered
	n.records, n.apply = w.records, w.apply
	return n
}

// do passes a write to the commit goroutine and waits for the answer; see boltfile.File.Do.
func (s *Store) do(ctx context.Context, w *write, gather time.Duration) error {
	return naming(s.file.Do(ctx, &w.Write, gather))
}

// update runs fn inside a commit, as write.apply.
func (s *Store) update(ctx context.Context, fn func(*txn) error) error {
	w := s.newWrite()
	w.apply = fn
	return s.do(ctx, w, 0)
}

// view runs fn in a read transaction. fn must not keep what it reads. Do not hold Store.mu: the
// disk may be slow.
func (s *Store) view(fn func(*txn) error) error {
	return naming(s.file.View(func(tx *bolt.Tx) error {
		t, err := s.openTxn(tx)
		if err != nil {
			return err
		}
		return fn(t)
	}))
}

// A lane is a [Store] as boltfile sees it. Only the commit goroutine calls its methods.
type lane Store

// Apply makes the changes of a group: first the writes in the order in which they came, then all
// outcomes sorted by place, so that neighbouring records are deleted together. Memory changes only
// in Committed. If the commit fails or the process crashes, nothing of it has happened.
func (l *lane) Apply(tx *bolt.Tx, group []*boltfile.Write) error {
	s := (*Store)(l)
	for _, b := range group {
		if w, ok := b.Change.(*write); ok && w.create {
			if err := format.Create(tx, s.bucket); err != nil {
				return err
			}
		}
	}
	t, err := s.openTxn(tx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	t.erasing = slices.Clone(s.erasing)
	s.mu.Unlock()
	outcomes, refusals := s.applying.outcomes[:0], 0
	for _, b := range group {
		w, ok := b.Change.(*write)
		if !ok {
			continue // it changes nothing
		}
		err := s.append(t, w.records)
		if err == nil && w.apply != nil {
			err = w.apply(t)
		}
		if r, ok := err.(refused); ok {
			b.Refuse(r.error)
			refusals++
			continue
		}
		if err != nil {
			return err
		}
		for i := range w.outcomes {
			outcomes = append(outcomes, &w.outcomes[i])
		}
	}
	slices.SortFunc(outcomes, func(o, p *settling) int {
		return cmp.Or(cmp.Compare(o.due, p.due), cmp.Compare(o.Item.Seq, p.Item.Seq))
	})
	for _, o := range outcomes {
		if err := o.apply(s, t); err != nil {
			return err
		}
	}
	clear(outcomes)
	s.applying.outcomes, s.applying.txn = outcomes, t
	if err := errors.Join(s.reap(t), t.flush()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unreported = 0; len(group) > refusals { // else the transaction may be rolled back
		s.unreported = uint64(tx.ID())
	}
	return nil
}

// Committed updates memory with what the last Apply did.
func (l *lane) Committed(txid uint64, group []*boltfile.Write) {
	s := (*Store)(l)
	t := s.applying.txn
	s.applying.txn = nil
	s.committed(txid, t, group)
}

// Reload makes memory follow the file again; see Store.reload.
func (l *lane) Reload() error { return (*Store)(l).reload() }
