package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// commit runs one transaction for all that wait. The group is taken after the lock of the database
// has been got, which an application's own transaction may hold for long: until then writes can be
// withdrawn and others can join.
func (f *file) commit() {
	tx, err := f.begin()
	group := f.take()
	if err != nil {
		f.fail(group, 0, fmt.Errorf("%w: begin: %w", sender.ErrStorage, err))
	} else {
		f.commitGroup(tx, group)
	}
	clear(group)
	f.group = group
}

// begin starts a transaction, once it is certain that the file is what it was after the last one.
func (f *file) begin() (tx *bolt.Tx, err error) {
	if f.own {
		if err := errors.Join(f.present(), f.whole()); err != nil {
			return nil, err
		}
	}
	err = guard(func() error { tx, err = f.db.Begin(true); return err })
	if err == nil && f.own && uint64(tx.ID()) != f.last+1 {
		err = fmt.Errorf("%w: transaction %d is the last in %s, and %d was ours: somebody wrote to the file while it was in use", ErrCorrupt, tx.ID()-1, f.path, f.last)
		err = errors.Join(err, guard(tx.Rollback))
	}
	return tx, err
}

func (f *file) commitGroup(tx *bolt.Tx, group []*write) {
	c := commit{tx: tx, lanes: make(map[*Store]*txn, 1)}
	err := guard(func() (err error) {
		if group, err = f.admitted(tx, group); err != nil {
			return err
		}
		return c.apply(group)
	})
	if err != nil {
		err = errors.Join(fmt.Errorf("%w: %w", sender.ErrStorage, err), guard(tx.Rollback))
		f.fail(group, 0, err)
		return
	}
	if len(c.accepted) == 0 {
		if err := guard(tx.Rollback); err != nil {
			f.fail(nil, 0, fmt.Errorf("%w: %w", sender.ErrStorage, err))
		}
		return
	}
	id := uint64(tx.ID())
	err = guard(func() error { return f.commitTx(tx) })
	if err != nil {
		err = errors.Join(err, closeTx(tx))
	} else {
		err = f.rests(id)
	}
	if err != nil {
		f.fail(group, id, fmt.Errorf("%w: commit: %w", sender.ErrStorage, err))
		return
	}
	for lane, t := range c.lanes {
		lane.committed(id, t, c.accepted)
	}
	var compact []*write
	for _, w := range c.accepted {
		if w.compact {
			compact = append(compact, w)
		} else {
			w.answer(nil) // and is its caller's again
		}
	}
	if compact != nil {
		err := f.shrink()
		for _, w := range compact {
			w.answer(err)
		}
	}
}

// rests notes that the file rests on a transaction, and reports whether the path leads to it.
func (f *file) rests(id uint64) error {
	if !f.own {
		return nil
	}
	f.last, f.dirty = id, true
	if err := guard(func() error {
		return f.db.View(func(tx *bolt.Tx) error { f.used.Store(tx.Size()); return nil })
	}); err != nil {
		return err
	}
	f.size = max(f.size, f.used.Load())
	return f.present()
}

func (f *file) commitTx(tx *bolt.Tx) error {
	if f.fault == nil {
		return tx.Commit()
	}
	if err := f.fault(false); err != nil {
		return err
	}
	return errors.Join(tx.Commit(), f.fault(true))
}

// closeTx releases the lock of a transaction whose commit broke off; one that ended is left alone.
func closeTx(tx *bolt.Tx) error {
	if tx.DB() == nil {
		return nil
	}
	return guard(tx.Rollback)
}

// commit is one transaction in the making.
type commit struct {
	tx       *bolt.Tx
	lanes    map[*Store]*txn
	accepted []*write
}

// apply makes the changes of a group: writes in the order they came, then all outcomes in the order
// of their places, so that what is deleted lies together.
func (c *commit) apply(group []*write) error {
	c.accepted = make([]*write, 0, len(group))
	outcomes := make(map[*Store][]*settling)
	for _, w := range group {
		t, err := c.lane(w)
		if err == nil {
			err = w.lane.append(t, w.records)
		}
		if err == nil && w.apply != nil {
			err = w.apply(t)
		}
		if r, ok := err.(refused); ok {
			w.answer(r.error)
			continue
		}
		if err != nil {
			return err
		}
		c.accepted = append(c.accepted, w)
		for j := range w.outcomes {
			outcomes[w.lane] = append(outcomes[w.lane], &w.outcomes[j])
		}
	}
	for lane, os := range outcomes {
		slices.SortFunc(os, (*settling).compare)
		for _, o := range os {
			if err := o.apply(lane, c.lanes[lane]); err != nil {
				return err
			}
		}
	}
	for lane, t := range c.lanes {
		if err := errors.Join(lane.reap(t), t.flush()); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) lane(w *write) (*txn, error) {
	if w.create {
		if err := format.Create(c.tx, w.lane.bucket); err != nil {
			return nil, err
		}
	}
	if t := c.lanes[w.lane]; t != nil {
		return t, nil
	}
	t, err := openTxn(c.tx, w.lane.bucket)
	if err == nil {
		c.lanes[w.lane] = t
	}
	return t, err
}

// fail heals after a failed commit, of transaction id if it got so far, before anything else is written,
// and answers the group, which then finds the lane as it is on disk. A file that is not ours stays failed
// until it is opened anew.
func (f *file) fail(group []*write, id uint64, err error) {
	if errors.As(err, new(panicked)) {
		f.broken.Store(true)
	}
	f.mu.Lock()
	f.failed = err
	f.mu.Unlock()
	healed := f.own && f.mend()
	if healed && isFull(err) && f.last < max(id, 1) {
		f.fullAt = f.now()
		f.singly(group, err)
		return
	}
	if err != nil && id == 0 {
		err = fmt.Errorf("%w: nothing was stored", err)
	} else if err != nil {
		err = fmt.Errorf("%w: the outcome is unknown", err)
	}
	for _, w := range group {
		w.answer(err)
	}
}

// singly tells those that store items that the disk is full, and commits the others again, bit by bit if
// they were many: the reserve may not hold what all of them touch.
func (f *file) singly(group []*write, err error) {
	err = fmt.Errorf("%w: nothing was stored", err)
	for _, w := range group {
		switch {
		case w.told:
		case w.size > 0:
			w.answer(fmt.Errorf("%w: %w of %s: %w", sender.ErrFull, errNoSpace, f.path, err))
		case w.compact || len(group) == 1 && len(w.outcomes) <= 1:
			w.answer(err)
		default:
			w.answer(f.bits(w))
		}
	}
}

// bits commits a write on its own, its outcomes one by one. Those that went well do no harm when all are
// repeated.
func (f *file) bits(w *write) (err error) {
	parts := []*write{{lane: w.lane, create: w.create, apply: w.apply, after: w.after}}
	if len(w.outcomes) > 0 {
		parts = parts[:0]
		for i := range w.outcomes {
			parts = append(parts, &write{lane: w.lane, outcomes: w.outcomes[i : i+1]})
		}
	}
	for _, p := range parts {
		p.done = make(chan error, 1)
		tx, failed := f.begin()
		if failed != nil {
			f.fail([]*write{p}, 0, fmt.Errorf("%w: begin: %w", sender.ErrStorage, failed))
		} else {
			f.commitGroup(tx, []*write{p})
		}
		if err = <-p.done; err != nil {
			return err
		}
	}
	return nil
}

// mend heals the file and makes every lane learn from it what is true. It reports success; after a
// failure it is not tried again for a second.
func (f *file) mend() bool {
	err := f.heal()
	if err == nil {
		for _, lane := range f.laneList() {
			err = errors.Join(err, lane.reload())
		}
	}
	f.mu.Lock()
	if err != nil {
		f.healAt = f.now().Add(time.Second)
		f.failed = fmt.Errorf("%w: healing %s: %w", sender.ErrStorage, f.path, err)
	} else {
		f.failed = nil
	}
	f.mu.Unlock()
	return err == nil
}
