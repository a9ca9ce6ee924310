package boltfile

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// The commit goroutine is the only one that writes to the file, except for the application's own
// transactions in the application's own database. It takes all writes that wait (the group), lets
// each lane apply its writes inside one transaction, commits, and answers the writes:
//
//	commitLoop → commit → begin, take, commitGroup → admit, Lane.Apply, tx.Commit, afterCommit,
//	                                                 Lane.Committed, answers, compact
//	                any failure → fail → recover (heal, Lane.Reload), answers
//
//   - A write is answered once, and with nil only after its commit is on disk.
//   - The writes of one lane are applied in the order in which they came.
//   - Before a commit of a file of our own, the file must be as the last commit left it: same file
//     at the path, not shorter, same newest transaction.
//   - After a failed commit the file heals first and every lane reloads. Only then are the writes
//     answered, so that a caller finds the lane as it is on disk.
//   - No lock is held while a lane is called.
//
// A crash before bbolt has written the meta page leaves the file as of the last commit. No write of
// the group was acknowledged. A crash after that leaves the whole group, acknowledged or not. What
// the meta page leads to was synced before the meta page was written.

// commitLoop is the commit goroutine. It runs until the file is closed, or its last lane has left;
// Close and Leave wait for it.
func (f *File) commitLoop() {
	for {
		f.mu.Lock()
		idle, asked := len(f.queue) == 0, f.healAsked
		f.healAsked = false
		if idle && f.closing {
			f.running = false
			f.mu.Unlock()
			return
		}
		if idle && !asked && !f.shouldCompact() {
			f.running = false
			f.mu.Unlock()
			<-f.wake
			continue
		}
		failed, mayHeal := f.failed, !f.now().Before(f.healAt)
		f.mu.Unlock()
		switch {
		case failed != nil && !(mayHeal && f.recover()):
			group := f.take()
			for _, w := range group {
				w.answer(f.Err())
			}
			clear(group)
		case idle && asked:
		case idle:
			_ = f.compact() // after an error it is tried again a minute later
		default:
			if len(f.group) > 1 {
				// Let the callers that were just answered bring their next items, so that they
				// share this commit instead of the next one: with 8 writers that stores half as
				// much again, with 64 a quarter more.
				runtime.Gosched()
			}
			f.commit()
		}
	}
}

// commit runs one transaction for all writes that wait. It takes the group only after it has
// bbolt's write lock, which an application's own transaction may hold for long. Until then writes
// can be withdrawn, and others can join.
func (f *File) commit() {
	tx, err := f.begin()
	group := f.take()
	if err != nil {
		f.fail(group, 0, onDisk("begin: ", err))
	} else {
		f.commitGroup(tx, group)
	}
	clear(group)
	f.group = group
}

// begin starts a transaction after it has checked that the file is as the last one left it.
func (f *File) begin() (tx *bolt.Tx, err error) {
	if f.own {
		if err := errors.Join(f.atPath(), f.notTruncated()); err != nil {
			return nil, err
		}
	}
	err = Catch(func() error { tx, err = f.db.Begin(true); return err })
	if err == nil && f.own && uint64(tx.ID()) != f.last+1 {
		err = fmt.Errorf("%w: the last transaction is %d, our last one was %d: the file was written to while it was in use", pages.ErrCorrupt, tx.ID()-1, f.last)
		err = errors.Join(err, Catch(tx.Rollback))
	}
	if err == nil && !f.own {
		if err = f.Join(tx); err != nil {
			err = errors.Join(err, Catch(tx.Rollback))
		}
	}
	return tx, err
}

// commitGroup applies and commits a group, and answers all of it.
func (f *File) commitGroup(tx *bolt.Tx, group []*Write) {
	var parts []part
	accepted := 0
	err := Catch(func() (err error) {
		if group, err = f.admit(tx, group); err != nil {
			return err
		}
		parts = byLane(group)
		for i := range parts {
			p := &parts[i]
			if err := p.lane.Apply(tx, p.writes); err != nil {
				return err
			}
			p.writes = unanswered(p.writes)
			accepted += len(p.writes)
		}
		return nil
	})
	if err != nil {
		f.fail(group, 0, errors.Join(onDisk("", err), Catch(tx.Rollback)))
		return
	}
	if accepted == 0 {
		if err := Catch(tx.Rollback); err != nil {
			f.fail(nil, 0, onDisk("", err))
		}
		return
	}
	id := uint64(tx.ID())
	if err = Catch(func() error { return f.commitTx(tx) }); err != nil {
		err = errors.Join(err, closeTx(tx))
	} else {
		err = f.afterCommit(id)
	}
	if err != nil {
		f.fail(group, id, onDisk("commit: ", err))
		return
	}
	for _, p := range parts {
		p.lane.Committed(id, p.writes)
	}
	var compacting []*Write
	for _, p := range parts {
		for _, w := range p.writes {
			if w.Compact {
				compacting = append(compacting, w)
			} else {
				w.answer(nil) // from here on w belongs to its caller
			}
		}
	}
	if compacting != nil {
		err := f.compact()
		for _, w := range compacting {
			w.answer(err)
		}
	}
}

// A part is what one lane writes in a commit.
type part struct {
	lane   Lane
	writes []*Write // after Apply: those that the lane did not refuse
}

// byLane splits a group into one part for each lane, and keeps the order within a part. The parts
// alias group.
func byLane(group []*Write) (parts []part) {
	for rest := group; len(rest) > 0; {
		lane, n := rest[0].Lane, 1
		for n < len(rest) && rest[n].Lane == lane {
			n++
		}
		if i := slices.IndexFunc(parts, func(p part) bool { return p.lane == lane }); i >= 0 {
			parts[i].writes = append(slices.Clip(parts[i].writes), rest[:n]...)
		} else {
			parts = append(parts, part{lane, rest[:n]})
		}
		rest = rest[n:]
	}
	return parts
}

// unanswered returns the writes that were not refused. It does not change the slice writes.
func unanswered(writes []*Write) []*Write {
	if !slices.ContainsFunc(writes, func(w *Write) bool { return w.answered }) {
		return writes
	}
	return slices.DeleteFunc(slices.Clone(writes), func(w *Write) bool { return w.answered })
}

// afterCommit notes that transaction id is the newest one in the file. An error means that the file
// is not at its path, so that a restart would not find the transaction.
func (f *File) afterCommit(id uint64) error {
	if !f.own {
		return nil
	}
	f.last, f.dirty = id, true
	if err := Catch(func() error {
		return f.db.View(func(tx *bolt.Tx) error { f.used.Store(tx.Size()); return nil })
	}); err != nil {
		return err
	}
	f.size = max(f.size, f.used.Load())
	return f.atPath()
}

// commitTx commits; a test may make it fail before or after that.
func (f *File) commitTx(tx *bolt.Tx) error {
	if f.fault == nil || f.fault.Commit == nil {
		return withoutPath(tx.Commit())
	}
	if err := f.fault.Commit(false); err != nil {
		return err
	}
	return errors.Join(withoutPath(tx.Commit()), f.fault.Commit(true))
}

// closeTx rolls a transaction back whose commit failed, to release bbolt's lock. It does nothing if
// Commit has ended the transaction.
func closeTx(tx *bolt.Tx) error {
	if tx.DB() == nil {
		return nil
	}
	return Catch(tx.Rollback)
}

// fail heals the file after a failed commit, before anything else is written, and answers the
// group. id is the transaction whose commit failed; 0: the commit did not begin, so nothing was
// stored.
//
// A commit may have failed because the disk is full. If it is not in the healed file, the writes
// that store nothing are committed again, from the reserve.
func (f *File) fail(group []*Write, id uint64, err error) {
	if errors.As(err, new(panicked)) {
		f.broken.Store(true)
	}
	f.mu.Lock()
	f.failed = err
	f.mu.Unlock()
	healed := f.recover()
	if healed && isFull(err) && f.last < max(id, 1) {
		f.fullAt, f.fullErr = f.now(), whyFull(err)
		f.answerSingly(group, f.fullErr)
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

// onDisk makes an error, with what was done in front of it, an ErrDisk, unless it is one.
func onDisk(doing string, err error) error {
	if errors.Is(err, ErrDisk) {
		return fmt.Errorf("%s%w", doing, err)
	}
	return fmt.Errorf("%w: %s%w", ErrDisk, doing, err)
}

// answerSingly answers a group for which the disk has no room. Writes that store records get
// ErrNoSpace. Each of the others is committed alone, because the reserve may not hold the pages
// that all of them touch together. If a write fails alone too, its caller may split it.
func (f *File) answerSingly(group []*Write, err error) {
	full := fmt.Errorf("%w: %w: nothing was stored", ErrNoSpace, err)
	for _, w := range group {
		switch {
		case w.answered:
		case w.Bytes > 0 || w.Compact || len(group) == 1:
			w.answer(full)
		default:
			f.commitAlone(w)
		}
	}
}

// commitAlone commits one write in a transaction of its own.
func (f *File) commitAlone(w *Write) {
	tx, err := f.begin()
	if err != nil {
		f.fail([]*Write{w}, 0, onDisk("begin: ", err))
		return
	}
	f.commitGroup(tx, []*Write{w})
}

// recover heals the file and lets every lane reload. It reports success. After a failure the next
// try is at least a second later, when the next write comes.
func (f *File) recover() bool {
	reload := func() (err error) {
		for _, lane := range f.Lanes() {
			err = errors.Join(err, lane.Reload())
		}
		return err
	}
	var err error
	if !f.own {
		err = f.healShared(reload)
	} else if err = f.heal(); err == nil {
		err = reload()
	}
	f.mu.Lock()
	if err != nil {
		f.healAt = f.now().Add(time.Second)
		f.failed = onDisk("healing: ", err)
	} else {
		f.failed = nil
	}
	f.mu.Unlock()
	return err == nil
}
