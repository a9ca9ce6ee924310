package store

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A write is one change of one lane, waiting for a commit that it shares with others.
type write struct {
	lane *Store
	// create makes the lane first, if it is not there.
	create  bool
	records []prepared // are appended
	// apply makes the change, after that. A refused error means that it changed nothing and that the others may
	// go on without it; any other error undoes the whole commit. Run by the commit goroutine.
	apply func(*txn) error
	// outcomes are applied instead, together with those of other writes, in the order of their places.
	outcomes []settling
	// after brings the lane's memory up to date once the commit is durable. Run under lane.mu.
	after func()
	// compact has the file compacted after the commit, which it waits for.
	compact bool
	size    int // bytes of the records that are stored; 0: it stores none
	state   atomic.Int32
	done    chan error // 1-buffered; answered exactly once unless withdrawn
	told    bool       // done has been answered; owned by the commit goroutine
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
	maxGathered   = 512 // outcomes that wait for company before they stop waiting
)

// write makes an empty write of a lane.
func (f *file) write(lane *Store) *write {
	w, _ := f.spare.Get().(*write)
	if w == nil {
		w = new(write)
	}
	w.lane = lane
	return w
}

// reuse takes back a write that has been answered without an error: then it is its caller's alone.
func (f *file) reuse(w *write) {
	if cap(w.records)+cap(w.outcomes) > maxGroup {
		return
	}
	clear(w.records)
	clear(w.outcomes)
	*w = write{records: w.records[:0], outcomes: w.outcomes[:0]}
	f.spare.Put(w)
}

// do hands a write to the commit goroutine and waits for its answer. A gather above zero lets it wait
// that long for another write to share the commit with. When ctx ends first the write is withdrawn,
// or, once the commit has begun, its outcome is unknown.
func (f *file) do(ctx context.Context, w *write, gather time.Duration) error {
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was stored: %w", context.Cause(ctx))
	}
	if w.done, _ = f.answers.Get().(chan error); w.done == nil {
		w.done = make(chan error, 1)
	}
	if err := f.submit(w, gather); err != nil {
		return err
	}
	select {
	case err := <-w.done:
		f.answers.Put(w.done) // a write is answered once
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
		return sender.ErrClosed
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
	switch {
	case f.running:
		return
	case f.started:
		f.wake <- struct{}{}
	default:
		f.started = true
		f.done.Go(f.commits)
	}
	f.running = true
}

// commits runs until the file is closed. It alone writes to the file, applications' own transactions aside.
func (f *file) commits() {
	for {
		f.mu.Lock()
		idle := len(f.queue) == 0
		if idle && f.closing {
			f.running = false
			f.mu.Unlock()
			return
		}
		if idle && !f.slack() {
			f.running = false
			f.mu.Unlock()
			<-f.wake
			continue
		}
		failed, mayMend := f.failed, f.own && !f.now().Before(f.healAt)
		f.mu.Unlock()
		switch {
		case failed != nil && !(mayMend && f.mend()):
			group := f.take()
			for _, w := range group {
				w.answer(f.failure())
			}
			clear(group)
		case idle:
			_ = f.shrink() // tried again by and by
		default:
			if len(f.group) > 1 {
				// Those who were answered just now come back with their next items, and share this commit instead
				// of the one after it: eight writers get half as much again done, 64 a quarter more.
				runtime.Gosched()
			}
			f.commit()
		}
	}
}

// take removes the group that shares the next commit: all that wait, within the bounds, and those
// that gather.
func (f *file) take() (group []*write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.collect()
	n, bytes := 0, 0
	group = f.group[:0]
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
	f.start()
	f.mu.Unlock()
	f.done.Wait()
	if !f.own {
		return nil
	}
	return f.finish()
}
