package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A write is one change of one lane, waiting for a commit that it shares with others.
type write struct {
	lane *Store
	// create makes the lane first, if it is not there.
	create bool
	// apply makes the change. A refused error means that it changed nothing and that the others may
	// go on without it; any other error undoes the whole commit. Run by the commit goroutine.
	apply func(*txn) error
	// outcomes are applied instead, together with those of other writes, in the order of their places.
	outcomes []settling
	// after brings the lane's memory up to date once the commit is durable. Run under lane.mu.
	after func()
	size  int // bytes, for the bound on a group
	state atomic.Int32
	done  chan error // 1-buffered; answered exactly once unless withdrawn
	told  bool       // done has been answered; owned by the commit goroutine
}

func (w *write) answer(err error) {
	if !w.told {
		w.told = true
		w.done <- err
	}
}

const (
	waiting   = iota
	taken     // by the commit goroutine
	withdrawn // by its caller, whose context ended
)

// refused is an error of a write that has changed nothing.
type refused struct{ error }

func (r refused) Unwrap() error { return r.error }

// Bounds of one commit. Below a thousand the sync costs more than the wait; above, only latency grows.
const (
	maxGroup      = 1024
	maxGroupBytes = 64 << 20
	maxGathered   = 256 // outcomes that wait for company before they stop waiting
)

// do hands a write to the commit goroutine and waits for its answer. A gather above zero lets it wait
// that long for another write to share the commit with. When ctx ends first the write is withdrawn,
// or, once the commit has begun, its outcome is unknown.
func (f *file) do(ctx context.Context, w *write, gather time.Duration) error {
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was stored: %w", context.Cause(ctx))
	}
	w.done = make(chan error, 1)
	if err := f.submit(w, gather); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.state.CompareAndSwap(waiting, withdrawn) {
			return fmt.Errorf("nothing was stored: %w", context.Cause(ctx))
		}
		return fmt.Errorf("the commit had begun, its outcome is unknown: %w", context.Cause(ctx))
	}
}

func (f *file) submit(w *write, gather time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing || w.lane.left {
		return ErrClosed
	}
	if gather <= 0 {
		f.queue = append(f.queue, w)
		f.start()
		return nil
	}
	f.lazy = append(f.lazy, w)
	if f.lazyN += len(w.outcomes); f.lazyN >= maxGathered {
		f.hurry()
	} else if f.timer == nil {
		f.timer = time.AfterFunc(gather, f.kick)
	}
	return nil
}

// leave accepts no more writes of a lane, and returns when those before have been answered.
func (f *file) leave(s *Store) {
	last := &write{lane: s, done: make(chan error, 1)}
	f.mu.Lock()
	s.left = true
	f.hurry()
	busy := f.running
	if busy {
		f.queue = append(f.queue, last)
	}
	f.mu.Unlock()
	if busy {
		<-last.done
	}
}

// kick ends the gathering.
func (f *file) kick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hurry()
}

// hurry is kick with f.mu held.
func (f *file) hurry() {
	if len(f.lazy) > 0 {
		f.collect()
		f.start()
	}
}

// collect puts the gathered writes with those that wait. f.mu is held.
func (f *file) collect() {
	f.queue = append(f.queue, f.lazy...)
	clear(f.lazy)
	f.lazy, f.lazyN = f.lazy[:0], 0
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// start sees to it that somebody commits. f.mu is held.
func (f *file) start() {
	if !f.running {
		f.running = true
		f.done.Go(f.commits)
	}
}

// commits runs while there is work. It alone writes to the file, applications' own transactions aside.
func (f *file) commits() {
	for {
		f.mu.Lock()
		if len(f.queue) == 0 {
			f.running = false
			f.mu.Unlock()
			return
		}
		failed, mayMend := f.failed, f.own && !f.now().Before(f.healAt)
		f.mu.Unlock()
		if failed != nil && !(mayMend && f.mend()) {
			for _, w := range f.take() {
				w.answer(f.failure())
			}
			continue
		}
		f.commit()
	}
}

// take removes the group that shares the next commit: all that wait, within the bounds, and those
// that gather.
func (f *file) take() (group []*write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.collect()
	n, bytes := 0, 0
	for ; n < len(f.queue) && n < maxGroup && bytes < maxGroupBytes; n++ {
		w := f.queue[n]
		if w.state.CompareAndSwap(waiting, taken) {
			group = append(group, w)
			bytes += w.size
		}
	}
	f.queue = slices.Delete(f.queue, 0, n)
	return group
}

// commit runs one transaction for all that wait. The group is taken after the lock of the database
// has been got, which an application's own transaction may hold for long: until then writes can be
// withdrawn and others can join.
func (f *file) commit() {
	var tx *bolt.Tx
	err := guard(func() (err error) { tx, err = f.db.Begin(true); return err })
	group := f.take()
	if err != nil {
		f.fail(group, fmt.Errorf("%w: begin: %w: nothing was stored", ErrStorage, err))
		return
	}
	c := commit{tx: tx, lanes: make(map[*Store]*txn, 1)}
	if err := guard(func() error { return c.apply(group) }); err != nil {
		err = errors.Join(fmt.Errorf("%w: %w: nothing was stored", ErrStorage, err), guard(tx.Rollback))
		f.fail(group, err)
		return
	}
	if len(c.accepted) == 0 {
		if err := guard(tx.Rollback); err != nil {
			f.fail(nil, fmt.Errorf("%w: %w", ErrStorage, err))
		}
		return
	}
	id := uint64(tx.ID())
	if err := guard(func() error { return f.commitTx(tx) }); err != nil {
		err = errors.Join(fmt.Errorf("%w: commit: %w: the outcome is unknown", ErrStorage, err), closeTx(tx))
		f.fail(group, err)
		return
	}
	for lane, t := range c.lanes {
		lane.committed(id, t, c.accepted)
	}
	for _, w := range c.accepted {
		w.answer(nil)
	}
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
		if err := createLane(c.tx, w.lane.bucket); err != nil {
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

// fail heals after a failed commit, before anything else is written, and answers the group, which
// then finds the lane as it is on disk. A file that is not ours stays failed until it is opened anew.
func (f *file) fail(group []*write, err error) {
	f.mu.Lock()
	f.failed = err
	f.mu.Unlock()
	if f.own {
		f.mend()
	}
	for _, w := range group {
		w.answer(err)
	}
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
		f.failed = fmt.Errorf("%w: healing %s: %w", ErrStorage, f.path, err)
	} else {
		f.failed = nil
	}
	f.mu.Unlock()
	return err == nil
}

func (f *file) laneList() (lanes []*Store) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, lane := range f.lanes {
		lanes = append(lanes, lane)
	}
	return lanes
}

func (f *file) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// close ends the commits, after those that wait, and the database when it is ours.
func (f *file) close() error {
	f.mu.Lock()
	f.closing = true
	f.hurry()
	f.mu.Unlock()
	f.done.Wait()
	f.swap.Lock()
	defer f.swap.Unlock()
	if !f.own || f.db == nil {
		return nil
	}
	err := guard(f.db.Close)
	f.db, f.raw = nil, nil
	return err
}
