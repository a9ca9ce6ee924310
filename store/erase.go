package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

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
		return 0, errors.New("store: erase: the key is empty: such items have nothing in common")
	}
	if s.closed.Load() {
		return 0, fmt.Errorf("store: erase: %w", sender.ErrClosed)
	}
	e := &erasure{s: s, key: []byte(key), hash: s.vault.hashName(key)}
	e.begin()
	defer e.end()
	if err := e.run(ctx); err != nil {
		return e.n, fmt.Errorf("store: erase: %d removed, the call is to be repeated: %w", e.n, err)
	}
	if s.file.mayCompact() {
		if err := s.file.do(ctx, &write{lane: s, compact: true}, 0); err != nil {
			return e.n, fmt.Errorf("store: erase: %d removed, their bytes may still be in the file and the call is to be repeated: %w", e.n, err)
		}
	}
	return e.n, nil
}

// erasure is one call of Erase. It looks at timed, ready, later and dead in this order, in which most
// records move. Whoever moves one elsewhere tells it.
type erasure struct {
	s    *Store
	key  []byte
	hash uint64
	n    int // removed; owned by the caller of Erase

	moved []spot // where records have gone meanwhile; guarded by s.mu
}

// spot is where a record lies: its bucket, as an index of txn.buckets, and its bucket key.
type spot struct {
	bucket int
	key    []byte
}

const itemBuckets = 4

// buckets are those that hold items.
func (t *txn) buckets() [itemBuckets]*bolt.Bucket {
	return [...]*bolt.Bucket{t.Timed, t.Ready, t.Later, t.Dead}
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

// tellMoved tells those who erase the key of that hash where a record of it is about to lie. The commit
// goroutine calls it.
func (s *Store) tellMoved(t *txn, hash uint64, to *bolt.Bucket, key []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.erasing {
		if buckets := t.buckets(); e.hash == hash {
			e.moved = append(e.moved, spot{slices.Index(buckets[:], to), bytes.Clone(key)})
		}
	}
}

func (e *erasure) run(ctx context.Context) error {
	// The commits from here on tell us what they move.
	if err := e.s.file.do(ctx, &write{lane: e.s, apply: func(*txn) error { return refused{} }}, 0); err != nil {
		return err
	}
	for bucket := range itemBuckets {
		var after []byte
		for more := true; more; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			var found []spot
			var err error
			if found, after, more, err = e.page(bucket, after); err != nil {
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

// page looks at the next records of a bucket, those behind after.
func (e *erasure) page(bucket int, after []byte) (found []spot, last []byte, more bool, err error) {
	err = e.s.file.view(func(tx *bolt.Tx) error {
		t, err := openTxn(tx, e.s.bucket)
		if err != nil {
			return err
		}
		last = after
		c, n := t.buckets()[bucket].Cursor(), 0
		k, v := seekAfter(c, after)
		for ; k != nil && n < maxGroup; k, v = c.Next() {
			if err := format.CheckOrder("a bucket", last, k); err != nil {
				return err
			}
			n++
			last = append(last[:0], k...)
			is, err := e.matches(k, v)
			if err != nil {
				return err
			}
			if is {
				found = append(found, spot{bucket, bytes.Clone(k)})
			}
		}
		more = k != nil
		return nil
	})
	return found, last, more, err
}

// remove drops what still lies in these places.
func (e *erasure) remove(ctx context.Context, places []spot) error {
	if len(places) == 0 {
		return nil
	}
	s, n := e.s, 0
	var d dropping
	if err := s.file.do(ctx, &write{
		lane: s,
		apply: func(t *txn) error {
			n, d = 0, dropping{} // a commit may be tried again
			var there []spot
			for _, p := range places {
				v := t.buckets()[p.bucket].Get(p.key)
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
				if b := t.buckets()[p.bucket]; b.Get(p.key) != nil {
					if err := d.drop(t, b, p.key); err != nil {
						return err
					}
					n++
				}
			}
			return nil
		},
		after: func() { d.done(s) },
	}, 0); err != nil {
		return err
	}
	e.n += n
	return nil
}

// matches reports whether record v under bucket key k is to be erased. An error says that it cannot be
// opened now.
func (e *erasure) matches(k, v []byte) (bool, error) {
	c := &e.s.vault
	if format.Record(v).Verify(k) != nil {
		return e.within(v), nil
	}
	if !format.Record(v).IsDamaged() && c.recordHash(v) != e.hash {
		return false, nil
	}
	plain, err := c.open(k, v)
	if errors.Is(err, ErrSealed) {
		return false, fmt.Errorf("item %v: %w", format.Record(v).ID(), err)
	}
	if err != nil {
		return e.within(v), nil
	}
	p, err := format.Record(plain).Split()
	switch {
	case err != nil:
		return e.within(plain), nil
	case format.Record(v).IsDamaged():
		return e.within(p.Payload), nil
	}
	return bytes.Equal(p.Key, e.key), nil
}

// within reports whether the bytes of a damaged record contain the key or, in a sealed lane, its hash.
func (e *erasure) within(v []byte) bool {
	return bytes.Contains(v, e.key) || e.s.vault.sealer != nil && bytes.Contains(v, binary.BigEndian.AppendUint64(nil, e.hash))
}
