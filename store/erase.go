package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Erase removes every item with that key, in whatever state, and clears its bytes from the file:
// for requests to delete the data of a person. It returns how many items it removed; they count as
// dropped. The empty key is an error.
//
//   - An item in flight is removed too. Its request may still arrive.
//   - An item that is stored with that key while Erase runs may be removed or not.
//   - A damaged record is removed if its bytes contain the key.
//   - Notes are not searched. Copies that a file system or a disk keeps are not reached.
//
// Erase compacts the file afterwards, as [Store.Compact] does, even if it found nothing: delivered
// items leave their bytes in free pages.
//
// errors.ErrUnsupported: all were removed, and the file cannot be compacted where it is, as for
// Compact: a lane opened by [In], or Windows. The file keeps the bytes until its pages are used
// again; to call Erase again does not help.
//
// Erase reads the lane page by page and needs many commits. After any other error, or when ctx
// ends, at least n items were removed; call it again.
func (s *Store) Erase(ctx context.Context, key string) (n int, err error) {
	if key == "" {
		return 0, s.wrap("erase", errors.New("the key is empty: such items have nothing in common"))
	}
	if s.closed.Load() {
		return 0, s.wrap("erase", sender.ErrClosed)
	}
	e := &erasure{s: s, key: []byte(key), hash: s.codec.hashName(key)}
	e.begin()
	defer e.end()
	if err := e.run(ctx); err != nil {
		return e.n, s.wrap("erase", fmt.Errorf("%d removed, the call is to be repeated: %w", e.n, err))
	}
	err = s.compact(ctx)
	if errors.Is(err, errors.ErrUnsupported) {
		return e.n, s.wrap("erase", fmt.Errorf("%d removed; their bytes stay in the file until its pages are used again: %w", e.n, err))
	}
	if err != nil {
		return e.n, s.wrap("erase", fmt.Errorf("%d removed, their bytes may still be in the file and the call is to be repeated: %w", e.n, err))
	}
	return e.n, nil
}

// Compact makes the file as small as its contents, for all its lanes. A file also compacts itself
// when a large backlog has been delivered.
//
// Writes wait for it, about two seconds for a million items; reads do not. Compact needs disk
// space for a copy, and gives it the owner and the mode of the file. After an error, for example on
// a full disk, the file is as it was.
//
// errors.ErrUnsupported: the lane is in an application's database ([In]), or the file cannot be
// replaced where it is, and the error says why: its directory cannot be written to, the file is
// mounted by itself, its owner cannot be given to another file, or the system is Windows, which
// cannot replace an open file.
func (s *Store) Compact(ctx context.Context) error {
	return s.wrap("compact", s.compact(ctx))
}

func (s *Store) compact(ctx context.Context) error {
	switch {
	case s.file.CanCompact():
	case s.file.Own():
		return fmt.Errorf("%w: Windows cannot replace an open file", errors.ErrUnsupported)
	default:
		return fmt.Errorf("%w: the lane is in a database of an application, which alone may replace its file", errors.ErrUnsupported)
	}
	w := s.newWrite()
	w.Compact = true
	return s.do(ctx, w, 0)
}

// An erasure is one call of Erase.
//
//   - It searches timed, ready, later and dead, in this order, which most records move in.
//   - While it is in Store.erasing, every transaction that begins tells it the new place of each
//     record of its key that moves (tellMoved). So no record escapes behind the page that is being
//     read.
//   - tellMoved runs inside the transaction. A moved place may therefore be wrong: if the commit
//     fails, the record is not there. remove looks again.
//   - After a crash the erasure is forgotten. What was committed is removed; the caller repeats
//     Erase.
type erasure struct {
	s    *Store
	key  []byte
	hash uint64
	n    int // removed items; only the goroutine of Erase uses it

	moved []place // new places of records that moved; guarded by s.mu
}

// begin adds the erasure to Store.erasing.
func (e *erasure) begin() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.erasing = append(e.s.erasing, e)
}

// end removes the erasure from Store.erasing.
func (e *erasure) end() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.erasing = slices.DeleteFunc(e.s.erasing, func(f *erasure) bool { return f == e })
}

// tellMoved tells each erasure of the record's key that the record moves to this place. txn.move
// calls it before it puts the record. Only the commit goroutine calls it.
func (t *txn) tellMoved(to place, rec format.Record) {
	if len(t.erasing) == 0 {
		return
	}
	hash := t.s.codec.recordHash(rec)
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	for _, e := range t.erasing {
		if e.hash == hash {
			e.moved = append(e.moved, place{to.in, slices.Clone(to.key)})
		}
	}
}

// run removes what the buckets hold, and then what moved while it ran.
func (e *erasure) run(ctx context.Context) error {
	// An empty commit: every transaction after it knows of the erasure.
	if err := e.s.update(ctx, func(*txn) error { return refused{} }); err != nil {
		return err
	}
	for _, in := range [...]box{timed, ready, later, dead} {
		for after, more := format.Key(nil), true; more; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var found []place
			if err := e.s.view(func(t *txn) (err error) {
				after, err = t.page(in, after, boltfile.MaxGroup, math.MaxInt, func(k format.Key, v format.Record) error {
					is, err := e.matches(k, v)
					if is {
						found = append(found, place{in, slices.Clone(k)})
					}
					return err
				})
				more = after != nil
				return err
			}); err != nil {
				return err
			}
			if err := e.remove(ctx, found); err != nil {
				return err
			}
		}
	}
	for {
		e.s.mu.Lock()
		moved := e.moved
		e.moved = nil
		e.s.mu.Unlock()
		if len(moved) == 0 {
			return nil
		}
		if err := e.remove(ctx, moved); err != nil {
			return err
		}
	}
}

// remove drops the records of the key that are still at these places.
func (e *erasure) remove(ctx context.Context, places []place) error {
	if len(places) == 0 {
		return nil
	}
	n := 0
	var d dropping
	w := e.s.newWrite()
	w.apply = func(t *txn) error {
		n, d = 0, nil // a commit may be tried again
		var there []place
		for _, p := range places {
			v := t.at(p)
			if v == nil {
				continue
			}
			is, err := e.matches(p.key, v)
			if err != nil {
				return refused{err}
			}
			if is {
				there = append(there, p)
			}
		}
		for _, p := range there {
			if t.at(p) == nil {
				continue // it was named twice
			}
			if err := d.drop(t, p); err != nil {
				return err
			}
			n++
		}
		return nil
	}
	w.after = func() { d.done(e.s) }
	if err := e.s.do(ctx, w, 0); err != nil {
		return err
	}
	e.n += n
	return nil
}

// matches reports whether record v under bucket key k must be erased. The error says that the
// record cannot be opened now.
func (e *erasure) matches(k format.Key, v format.Record) (bool, error) {
	c := &e.s.codec
	if v.Verify(k) != nil {
		return e.within(v), nil
	}
	if !v.IsDamaged() && c.recordHash(v) != e.hash {
		return false, nil
	}
	plain, err := c.open(k, v)
	if errors.Is(err, ErrSealed) {
		return false, fmt.Errorf("item %v: %w", v.ID(), err)
	}
	if err != nil {
		return e.within(v), nil
	}
	p, err := plain.Split()
	switch {
	case err != nil:
		return e.within(plain), nil
	case v.IsDamaged():
		return e.within(p.Payload), nil
	}
	return bytes.Equal(p.Key, e.key), nil
}

// within reports whether the bytes of a damaged record contain the key or, in a sealed lane, its
// hash.
func (e *erasure) within(v []byte) bool {
	return bytes.Contains(v, e.key) || e.s.codec.sealer != nil && bytes.Contains(v, binary.BigEndian.AppendUint64(nil, e.hash))
}
