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

// A write is one change of the lane, waiting for a commit that it shares with others.
type write struct {
	boltfile.Write // Change is the write itself

	create   bool       // the lane is made first, if it is not there
	records  []prepared // are appended
	outcomes []settling // are applied, with those of other writes, in the order of their places
	// apply makes a change, after the records are appended. A refused error says that it changed nothing;
	// any other error undoes the whole commit. The commit goroutine calls it; it may call it again.
	apply func(*txn) error
	// after brings memory up to date once the commit is on disk. Called with Store.mu held.
	after func()
}

// newWrite makes a write that changes nothing yet.
func (s *Store) newWrite() *write {
	w, _ := s.writes.Get().(*write)
	if w == nil {
		w = new(write)
	}
	w.Lane, w.Change = (*lane)(s), w
	return w
}

// reuse takes back a write that has been answered without an error: then it is its caller's alone.
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

// again returns a write that does what w was to do. w itself was answered with an error, or withdrawn: the
// commit goroutine may still look at it.
func (s *Store) again(w *write) *write {
	n := s.newWrite()
	n.Items, n.Bytes, n.Largest, n.Scattered = w.Items, w.Bytes, w.Largest, w.Scattered
	n.records, n.apply = w.records, w.apply
	return n
}

// do has a write committed, and waits for it; see boltfile.File.Do.
func (s *Store) do(ctx context.Context, w *write, gather time.Duration) error {
	return naming(s.file.Do(ctx, &w.Write, gather))
}

// update runs fn inside a commit, which it may share with others, as [write].apply.
func (s *Store) update(ctx context.Context, fn func(*txn) error) error {
	w := s.newWrite()
	w.apply = fn
	return s.do(ctx, w, 0)
}

// view runs fn in a read transaction. fn must not keep what it reads, nor need Store.mu: the disk may be
// slow.
func (s *Store) view(fn func(*txn) error) error {
	return naming(s.file.View(func(tx *bolt.Tx) error {
		t, err := s.openTxn(tx)
		if err != nil {
			return err
		}
		return fn(t)
	}))
}

// A lane is a [Store] as its file sees it. Only the commit goroutine calls its methods.
type lane Store

// Apply makes the changes of a group: writes in the order in which they came, then all outcomes in the order
// of their places, so that what is deleted lies together.
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
	outcomes := s.applying.outcomes[:0]
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
	return errors.Join(s.reap(t), t.flush())
}

// Committed brings memory up to date with what the last Apply did.
func (l *lane) Committed(txid uint64, group []*boltfile.Write) {
	s := (*Store)(l)
	t := s.applying.txn
	s.applying.txn = nil
	s.committed(txid, t, group)
}

// Reload reads the lane again.
func (l *lane) Reload() error { return (*Store)(l).reload() }
