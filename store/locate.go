package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// A target is an item that Drop or Revive shall find. It holds nothing of the caller: a commit may
// go on after the caller's context has ended.
type target struct {
	id    uuid.UUID
	seq   uint64    // as listed; 0: not known, the first item with this ID is meant
	due   time.Time // as listed; zero: there was none
	hash  uint64    // of its key
	moves bool      // it was scheduled: when its time comes it gets a new Seq
	at    place     // where it is, as last seen
}

// is reports whether the target is record v under bucket key k.
func (x *target) is(k format.Key, v format.Record) bool {
	return v.ID() == x.id && (x.seq == 0 || x.seq == k.Seq() || x.moves && x.seq < k.Seq())
}

// newTargets returns what to find for items. An item without Seq and ID names nothing.
func (s *Store) newTargets(items []sender.Item) []target {
	xs := make([]target, 0, len(items))
	for i := range items {
		it := &items[i]
		if it.Seq == 0 && it.ID == uuid.Nil {
			continue
		}
		xs = append(xs, target{
			id: it.ID, seq: it.Seq, due: it.Due, hash: s.codec.hashName(it.Key),
			moves: !it.Due.IsZero() && it.Failures == 0,
		})
	}
	slices.SortFunc(xs, func(x, y target) int { return cmp.Compare(x.seq, y.seq) })
	return xs
}

// change finds items, pending and dead ones or the dead ones alone, and has do change them inside a
// commit. do gets each place once, sorted by bucket and key, and may run again after a failed
// commit. after, unless nil, is as in write. change returns how many places do was given.
//
// The items are looked for before the commit, where it disturbs nobody that the whole lane may have
// to be read. What is nowhere then is gone for good. Only if an item moves between that and the
// commit, it is looked for again inside the commit.
func (s *Store) change(ctx context.Context, items []sender.Item, onlyDead bool, do func(*txn, []place) error, after func()) (n int, err error) {
	xs := s.newTargets(items)
	if s.file.Err() != nil {
		// An empty commit heals the file, or returns why that is not possible.
		if err := s.do(ctx, s.newWrite(), 0); err != nil {
			return 0, err
		}
	}
	if err := s.view(func(t *txn) (err error) {
		xs, err = t.locate(xs, onlyDead)
		return err
	}); err != nil {
		return 0, err
	}
	w := s.newWrite()
	w.apply = func(t *txn) error {
		found, err := t.locate(slices.Clone(xs), onlyDead)
		if err != nil {
			return refused{err}
		}
		places := make([]place, len(found))
		for i := range found {
			places[i] = found[i].at
		}
		slices.SortFunc(places, func(p, q place) int {
			return cmp.Or(cmp.Compare(p.in, q.in), bytes.Compare(p.key, q.key))
		})
		places = slices.CompactFunc(places, place.is)
		n = len(places)
		return do(t, places)
	}
	w.after = after
	if err := s.do(ctx, w, 0); err != nil {
		return 0, err // after the end of ctx, apply may still be setting n
	}
	return n, nil
}

// locate returns the targets that are in the lane, with their places. The cost is one search for
// each target, and one pass over the buckets for all that are not found so. It reuses xs.
func (t *txn) locate(xs []target, onlyDead bool) ([]target, error) {
	var missing map[uuid.UUID][]*target
	for i := range xs {
		x := &xs[i]
		if x.at = t.seek(x, onlyDead); x.at.in == nowhere {
			if missing == nil {
				missing = make(map[uuid.UUID][]*target)
			}
			missing[x.id] = append(missing[x.id], x)
		}
	}
	all := errors.New("all are found")
	for _, in := range [...]box{ready, later, timed, dead} {
		if missing == nil || onlyDead && in != dead {
			continue
		}
		_, err := t.page(in, nil, math.MaxInt, math.MaxInt, func(k format.Key, v format.Record) error {
			same, ok := missing[v.ID()]
			if !ok || onlyDead && t.s.underWay(k, v) {
				return nil
			}
			same = slices.DeleteFunc(same, func(x *target) bool {
				if !x.is(k, v) {
					return false
				}
				x.at = place{in, bytes.Clone(k)}
				return true
			})
			if missing[v.ID()] = same; len(same) == 0 {
				delete(missing, v.ID())
			}
			if len(missing) == 0 {
				return all
			}
			return nil
		})
		if err == all {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(xs, func(x target) bool { return x.at.in == nowhere }), nil
}

// seek returns where a target is, if it is where it was seen last or listed, or has died there.
func (t *txn) seek(x *target, onlyDead bool) place {
	seq := format.ReadyKey(x.seq)
	places := []place{x.at, {dead, seq}, {ready, seq}}
	if !x.due.IsZero() {
		places = append(places,
			place{later, format.LaterKey(t.s.clock.nanos(x.due), x.seq, x.hash)},
			place{timed, format.TimedKey(x.due.UnixNano(), x.seq)})
	}
	for _, p := range places {
		v := t.at(p)
		if v == nil || !x.is(p.key, v) || onlyDead && (p.in != dead || t.s.underWay(p.key, v)) {
			continue
		}
		return p
	}
	return place{}
}
