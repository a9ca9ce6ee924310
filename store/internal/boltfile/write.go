package boltfile

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A Lane is what a [File] commits for. Only the commit goroutine calls its methods, one at a time,
// and it holds no lock of the File while it does. A Lane must be comparable; a File has it once.
type Lane interface {
	// Apply makes the changes of a group inside tx. It calls [Write.Refuse] on writes that changed
	// nothing; the commit goes on without them. An error undoes the whole commit, also for other
	// lanes. What Apply remembers is true only when Committed follows: the commit may fail, and the
	// same writes may come again.
	Apply(tx *bolt.Tx, group []*Write) error
	// Committed says that transaction txid, which contains the last Apply, is on disk. group is the
	// writes that Apply did not refuse. They are answered after it.
	Committed(txid uint64, group []*Write)
	// Reload says that memory of the lane may differ from the file, because the outcome of a commit
	// is unknown or the file was opened again. The lane reads the file again. After an error the
	// file stays failed.
	Reload() error
}

// A Write is one change of one lane, which waits for a commit that it shares with others. The zero
// Write with a Lane changes nothing: its commit heals the file, or says why that is not possible.
//
//   - It belongs to its caller until [File.Do], to the File until it is answered, then to its
//     caller again.
//   - When Do has returned because its context ended, it must not be used again: the File may still
//     have it.
type Write struct {
	Lane Lane // which must have entered the File
	// Change is what to do. Only the lane looks at it.
	Change any
	// Items counts the items that are stored or settled.
	Items int
	// Bytes is the length of all records that are stored. 0: the write stores no records, and may
	// use the reserve that is kept for a full disk.
	Bytes int
	// Largest is the length of the largest record in bytes; 0: there are none.
	Largest int
	// Scattered: the records do not all go to the end of a bucket.
	Scattered bool
	// Compact makes the File compact the file after the commit, before it answers the write.
	Compact bool

	state    atomic.Int32 // waiting, taken or withdrawn
	done     chan error   // 1-buffered; answered exactly once unless withdrawn
	answered bool         // owned by the commit goroutine
}

// The states of a Write. From waiting, either the commit goroutine takes it, or its caller
// withdraws it because its context ended; whichever comes first.
const (
	waiting = iota
	taken
	withdrawn
)

// Reset empties a Write that [File.Do] has answered, so that it can be used again.
func (w *Write) Reset() { *w = Write{done: w.done} }

// Refuse answers a write that has changed nothing. Only [Lane.Apply] calls it.
func (w *Write) Refuse(err error) { w.answer(err) }

// answer sends the answer, unless there was one. Only the commit goroutine calls it. When it
// returns, the write belongs to its caller.
func (w *Write) answer(err error) {
	if !w.answered {
		w.answered = true
		w.done <- err
	}
}

// Limits of one commit. With fewer than a thousand writes the sync is most of the cost of a commit;
// with more, only the latency grows.
const (
	MaxGroup      = 1024     // writes
	MaxGroupBytes = 64 << 20 // bytes of records; the last write may exceed it
	maxGathered   = 512      // gathered items: with this many they wait no longer
)

// A member is a lane of the file.
type member struct {
	lane    Lane
	leaving bool // its writes are not accepted any more, but its name is not free yet
}

// Enter adds a lane under a name. [ErrLocked]: a lane has entered under this name and has not left.
// [ErrClosed]: the File is closed.
func (f *File) Enter(name string, lane Lane) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return ErrClosed
	}
	if f.lanes[name] != nil {
		return fmt.Errorf("%w: this process has the lane open", ErrLocked)
	}
	m := &member{lane: lane}
	f.lanes[name], f.members[lane] = m, m
	return nil
}

// Leave removes a lane. It accepts no more of its writes, waits until those before are committed,
// and then frees the name. The File of an application's database ends when its last lane leaves.
// Leave of a lane that is not there, or is leaving, does nothing.
func (f *File) Leave(name string) {
	f.mu.Lock()
	m := f.lanes[name]
	if m == nil || m.leaving {
		f.mu.Unlock()
		return
	}
	m.leaving = true
	f.startGathered()
	if f.running {
		behind := &Write{Lane: m.lane, done: make(chan error, 1)} // answered after all before it
		f.queue = append(f.queue, behind)
		f.mu.Unlock()
		<-behind.done
		f.mu.Lock()
	}
	delete(f.lanes, name)
	delete(f.members, m.lane)
	last := len(f.lanes) == 0 && !f.own
	if last {
		f.closing = true
		f.start()
	}
	f.mu.Unlock()
	if last {
		forget(f)
		f.done.Wait()
	}
}

// Do hands a write to the commit goroutine and waits for the answer; nil: it is on disk. With
// gather above zero the write waits up to that long for another one to share its commit.
// [ErrClosed]: the lane has not entered, or has left. When ctx ends first, the error says that
// nothing was stored, or, once the commit has begun, that the outcome is unknown; w must then not
// be used again.
func (f *File) Do(ctx context.Context, w *Write, gather time.Duration) error {
	if ctx == nil {
		return ErrNilContext
	}
	if ctx.Err() != nil {
		return fmt.Errorf("nothing was stored: %w", context.Cause(ctx))
	}
	if w.done == nil {
		w.done = make(chan error, 1)
	}
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

// submit puts a write into queue or gathered, and starts the commit goroutine or the timer.
func (f *File) submit(w *Write, gather time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing || !f.has(w.Lane) {
		return ErrClosed
	}
	if gather <= 0 {
		f.queue = append(f.queue, w)
		f.start()
		return nil
	}
	f.gathered = append(f.gathered, w)
	if f.gatheredN += w.Items; f.gatheredN >= maxGathered {
		f.startGathered()
	} else if f.timer == nil {
		f.timer = time.AfterFunc(gather, f.FlushGathered)
	}
	return nil
}

// has reports whether the file accepts writes of a lane. f.mu is held.
func (f *File) has(lane Lane) bool {
	m := f.members[lane]
	return m != nil && !m.leaving
}

// FlushGathered commits now the writes that wait to share a commit. It does not wait for the
// commit.
func (f *File) FlushGathered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.startGathered()
}

// startGathered is FlushGathered with f.mu held.
func (f *File) startGathered() {
	if len(f.gathered) > 0 {
		f.queueGathered()
		f.start()
	}
}

// queueGathered moves the gathered writes to the end of queue. f.mu is held.
func (f *File) queueGathered() {
	f.queue = append(f.queue, f.gathered...)
	clear(f.gathered)
	f.gathered, f.gatheredN = f.gathered[:0], 0
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// start makes sure that the commit goroutine runs. f.mu is held. The send on wake never blocks:
// wake has room for one value, and it is sent only to a goroutine that does not run.
func (f *File) start() {
	switch {
	case f.running:
		return
	case f.started:
		f.wake <- struct{}{}
	default:
		f.started = true
		f.done.Go(f.commitLoop)
	}
	f.running = true
}

// take removes the group that shares the next commit: all writes that wait, within the limits, then
// the gathered ones. It leaves out those that were withdrawn. Only the commit goroutine calls it.
func (f *File) take() (group []*Write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queueGathered()
	n, bytes := 0, 0
	group = f.group[:0]
	for ; n < len(f.queue) && n < MaxGroup && bytes < MaxGroupBytes; n++ {
		w := f.queue[n]
		if w.state.CompareAndSwap(waiting, taken) {
			group = append(group, w)
			bytes += w.Bytes
		}
	}
	f.queue = slices.Delete(f.queue, 0, n)
	return group
}

// Lanes returns the lanes that have entered and not left, in no order.
func (f *File) Lanes() (lanes []Lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.lanes {
		lanes = append(lanes, m.lane)
	}
	return lanes
}

// Abandon makes Close leave the file as Open found it. Call it only when nothing was written since
// Open.
func (f *File) Abandon() { f.dirty = false }

// Close refuses new writes with [ErrClosed], commits those that wait, and waits for the commit
// goroutine. It then closes the database if [Open] opened it. A second Close does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	f.closing = true
	f.startGathered()
	f.start()
	f.mu.Unlock()
	f.done.Wait()
	if !f.own {
		return nil
	}
	return f.finish()
}
