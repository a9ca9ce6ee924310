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

// Erase gives up every item with that key, whatever it waits for, and then clears the file of what they
// and those before them held: for requests to delete what is known of a person. It returns how many
// items it removed, which are counted as dropped. One that is in flight is removed too, but its request
// may yet arrive. What is put with that key meanwhile may be removed or not. Of records that were damaged,
// those whose bytes contain the key are removed. The empty key is an error.
//
// Afterwards the file is compacted, as by [Store.Compact], also if nothing was found: what was delivered
// leaves its bytes in free pages. Those of a lane opened by [In], and of any lane on Windows, keep them
// until they are used again. Notes are not looked at, and what a file system or a disk keeps of what was
// deleted is beyond it.
//
// It goes through the lane page by page, with many commits. After an error, or an end of ctx, n have been
// removed at least, and the call is to be repeated.
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
	if s.file.CanCompact() {
		if err := s.compact(ctx); err != nil {
			return e.n, s.wrap("erase", fmt.Errorf("%d removed, their bytes may still be in the file and the call is to be repeated: %w", e.n, err))
		}
	}
	return e.n, nil
}

// Compact makes the file as small as what is in it, for all its lanes. That happens by itself when a
// large backlog has been delivered. It takes the place of a commit: what is put meanwhile waits, about
// two seconds for a million items; what is read does not. It needs room for the copy: on a full disk
// it is an error, as it is when the disk fails, and the file stays as it is. A lane in an application's
// database ([In]), and a file on Windows, which replaces no open file, are errors.ErrUnsupported.
func (s *Store) Compact(ctx context.Context) error {
	if !s.file.CanCompact() {
		return s.wrap("compact", errors.ErrUnsupported)
	}
	return s.wrap("compact", s.compact(ctx))
}

func (s *Store) compact(ctx context.Context) error {
	w := s.newWrite()
	w.Compact = true
	return s.do(ctx, w, 0)
}

// erasure is one call of Erase. It looks at timed, ready, later and dead in this order, in which most
// records move. Whoever moves one elsewhere tells it.
type erasure struct {
	s    *Store
	key  []byte
	hash uint64
	n    int // removed; owned by the caller of Erase

	moved []place // where records have gone meanwhile; guarded by s.mu
}

func (e *erasure) begin() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.erasing = append(e.s.erasing, e)
}

func (e *erasure) end() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	e.s.erasing = slices.DeleteFunc(e.s.erasing, func(f *erasure) bool { return f == e })
}

// tellMoved tells the calls of Erase where a record of their key is about to lie. The commit goroutine
// calls it.
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

func (e *erasure) run(ctx context.Context) error {
	// The commits from here on tell us what they move.
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

// remove drops what still lies in these places.
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

// matches reports whether record v under bucket key k is to be erased. An error says that it cannot be
// opened now.
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

// within reports whether the bytes of a damaged record contain the key or, in a sealed lane, its hash.
func (e *erasure) within(v []byte) bool {
	return bytes.Contains(v, e.key) || e.s.codec.sealer != nil && bytes.Contains(v, binary.BigEndian.AppendUint64(nil, e.hash))
}
