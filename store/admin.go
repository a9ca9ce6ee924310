package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

const pageItems = 128 // items read in one transaction by what lists them

// Pending lists the pending items: those in ready, then those that failed, then those whose time has
// not come, then those in flight that are on disk as dead, to be sent at most once. It reads page by page and holds no transaction while the caller works, so that an item
// which moves meanwhile may be listed twice or not at all. A record that does not decode is an error;
// the listing goes on behind it.
func (s *Store) Pending() iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) {
		for _, b := range [...][]byte{format.BucketReady, format.BucketLater, format.BucketTimed} {
			if !s.list(b, false, yield) {
				return
			}
		}
		if s.sentCount() > 0 {
			s.list(format.BucketDead, true, yield)
		}
	}
}

// Dead lists the dead items in the order of Seq, as Pending does. LastErr is the reason, Failed the
// time of death. One that was buried because its record was damaged has that record for a payload.
func (s *Store) Dead() iter.Seq2[sender.Item, error] {
	return func(yield func(sender.Item, error) bool) { s.list(format.BucketDead, false, yield) }
}

// list yields the items of a bucket, those that lie in dead while their request is under way or the
// others. It reports whether the caller wants more.
func (s *Store) list(bucket []byte, underWay bool, yield func(sender.Item, error) bool) bool {
	type listed struct {
		it  sender.Item
		err error
	}
	var after []byte
	for page, more := make([]listed, 0, pageItems), true; more; page = page[:0] {
		if s.closed.Load() {
			return yield(sender.Item{}, fmt.Errorf("store: list: %w", sender.ErrClosed))
		}
		s.mu.Lock() // before the transaction, as in Claim, so that what is in flight and on disk agree
		err := s.file.view(func(tx *bolt.Tx) error {
			t, err := openTxn(tx, s.bucket)
			if err != nil {
				return err
			}
			size := 0
			c := t.Root.Bucket(bucket).Cursor()
			k, v := seekAfter(c, after)
			for ; k != nil && len(page) < pageItems && size < 4<<20; k, v = c.Next() {
				if err := format.CheckOrder(string(bucket), after, k); err != nil {
					return err
				}
				size += len(v)
				after = append(after[:0], k...)
				if s.walk.underWay(k, v) == underWay {
					it, err := s.item(k, v)
					page = append(page, listed{it, err})
				}
			}
			more = k != nil
			return nil
		})
		s.mu.Unlock()
		if err != nil {
			return yield(sender.Item{}, fmt.Errorf("store: list: %w", err))
		}
		for _, e := range page {
			if !yield(e.it, e.err) {
				return false
			}
		}
	}
	return true
}

func seekAfter(c *bolt.Cursor, after []byte) (k, v []byte) {
	if after == nil {
		return c.First()
	}
	if k, v = c.Seek(after); bytes.Equal(k, after) {
		return c.Next()
	}
	return k, v
}

// item decodes a record with its place.
func (s *Store) item(k, v []byte) (sender.Item, error) {
	it, err := s.vault.decode(k, v)
	it.Seq = format.Key(k).Seq()
	switch len(k) {
	case 16: // NotBefore, by the wall clock
		it.Due = time.Unix(0, format.Key(k).Due())
	case 24:
		it.Due = s.file.instant(format.Key(k).Due())
	}
	switch {
	case errors.Is(err, ErrSealed):
		it.ID = format.Record(v).ID()
		return it, fmt.Errorf("store: record %d: %w", it.Seq, err)
	case err != nil:
		return it, fmt.Errorf("%w: record %d: %w", ErrCorrupt, it.Seq, err)
	}
	return it, nil
}

// Find returns the first item with that ID, pending or dead, or sender.ErrNotFound. It reads the whole lane,
// page by page: one look at a million items takes seconds on a cold file.
func (s *Store) Find(ctx context.Context, id uuid.UUID) (sender.Item, error) {
	for _, name := range [...][]byte{format.BucketReady, format.BucketLater, format.BucketTimed, format.BucketDead} {
		var after []byte
		for more := true; more; {
			var found *sender.Item
			if err := s.file.view(func(tx *bolt.Tx) error {
				t, err := openTxn(tx, s.bucket)
				if err != nil {
					return err
				}
				c, n := t.Root.Bucket(name).Cursor(), 0
				k, v := seekAfter(c, after)
				for ; k != nil && n < maxGroup; k, v = c.Next() {
					if err := format.CheckOrder(string(name), after, k); err != nil {
						return err
					}
					n++
					after = append(after[:0], k...)
					if format.Record(v).ID() == id {
						it, err := s.item(k, v)
						found = &it
						return err
					}
				}
				more = k != nil
				return ctx.Err()
			}); err != nil {
				return sender.Item{}, fmt.Errorf("store: find %v: %w", id, err)
			}
			if found != nil {
				return *found, nil
			}
		}
	}
	return sender.Item{}, fmt.Errorf("store: find %v: %w", id, sender.ErrNotFound)
}

// Revive gives dead items a new place at the end of ready: the same ID, attempts at zero, their
// failures forgotten. Those that are no longer dead, or are in flight, are passed over. A lane at MaxPending is sender.ErrFull,
// and a record that was damaged cannot be revived: an error, and nothing changes.
func (s *Store) Revive(ctx context.Context, items ...sender.Item) error {
	return wrap("revive", s.file.do(ctx, &write{lane: s, apply: func(t *txn) error {
		var seqs []uint64
		for i := range items {
			k := format.ReadyKey(items[i].Seq)
			v := t.Dead.Get(k)
			if v == nil || s.underWay(k, v) || slices.Contains(seqs, items[i].Seq) {
				continue
			}
			_, err := s.vault.decode(k, v)
			if errors.Is(err, ErrSealed) {
				return refused{fmt.Errorf("item %v: %w: nothing was changed", items[i].ID, err)}
			}
			if err != nil || format.Record(v).IsDamaged() {
				return refused{fmt.Errorf("%w: item %v was buried because its record did not decode: nothing was changed", ErrCorrupt, items[i].ID)}
			}
			seqs = append(seqs, items[i].Seq)
		}
		if err := s.admit(t, len(seqs), 0); err != nil {
			return refused{err}
		}
		for _, from := range seqs {
			old := t.Dead.Get(format.ReadyKey(from))
			rec, err := s.refresh(format.ReadyKey(from), old)
			if err != nil {
				return err
			}
			size := uint64(format.Record(old).PayloadLen())
			seq, err := t.Root.NextSequence()
			if err != nil {
				return err
			}
			if err := t.remove(t.Dead, format.ReadyKey(from)); err != nil {
				return err
			}
			if err := add(t.Ready, format.ReadyKey(seq), rec); err != nil {
				return err
			}
			t.Ledger.Dead--
			t.Ledger.Ready++
			t.Ledger.DeadBytes -= size
			t.Ledger.Bytes += uint64(format.Record(rec).PayloadLen())
			t.appended = true
			s.tellMoved(t, s.vault.recordHash(rec), t.Ready, format.ReadyKey(seq))
		}
		return nil
	}}, 0))
}

// refresh returns a copy of record v under bucket key k as if it had never failed. Stamp it before use.
func (s *Store) refresh(k, v []byte) ([]byte, error) {
	plain, err := s.vault.open(k, v)
	if err != nil {
		return nil, err
	}
	rec, err := format.Record(plain).Fresh()
	if err != nil {
		return nil, err
	}
	return s.vault.seal(rec)
}

// Drop gives items up, pending or dead: they are counted as dropped and not sent again. One that is
// in flight may yet arrive. Those that are gone already are passed over.
func (s *Store) Drop(ctx context.Context, items ...sender.Item) error {
	var d dropping
	return wrap("drop", s.file.do(ctx, &write{
		lane: s,
		apply: func(t *txn) error {
			d = dropping{} // a commit may be tried again
			for i := range items {
				b, k := s.locate(t, &items[i])
				if b == nil {
					continue
				}
				if err := d.drop(t, b, k); err != nil {
					return err
				}
			}
			return nil
		},
		after: func() { d.done(s) },
	}, 0))
}

// dropping is what a commit that drops items changes in memory.
type dropping struct {
	freed, heads []uint64 // keys whose head lay in later, each with that head
	gone         []uint64 // Seqs of those that lay in dead
}

// drop drops the record under k in b, one of the buckets of items.
func (d *dropping) drop(t *txn, b *bolt.Bucket, k []byte) error {
	switch b {
	case t.Dead:
		d.gone = append(d.gone, format.Key(k).Seq())
	case t.Later:
		d.freed, d.heads = append(d.freed, format.Key(k).Hash()), append(d.heads, format.Key(k).Seq())
	}
	return t.drop(b, k)
}

// done brings the walk up to date once the commit is durable. s.mu is held.
func (d *dropping) done(s *Store) {
	s.walk.forgetNear()
	for _, seq := range d.gone {
		if f := s.walk.flights[seq]; f != nil {
			s.walk.moved(f, false)
		}
	}
	for i, hash := range d.freed {
		// A claim may have seen the commit before us, and given the key away.
		if l, ok := s.walk.taken[hash]; ok && l.head == d.heads[i] && s.walk.flights[l.head] == nil {
			s.walk.pass(hash)
		}
	}
}

// drop deletes a record and counts it as dropped.
func (t *txn) drop(b *bolt.Bucket, k []byte) error {
	bytes, count := &t.Ledger.Bytes, &t.Ledger.Ready
	switch b {
	case t.Timed:
		count = &t.Ledger.Timed
	case t.Later:
		count = &t.Ledger.Later
	case t.Dead:
		bytes, count = &t.Ledger.DeadBytes, &t.Ledger.Dead
	}
	_, broken := format.Record(b.Get(k)).Split()
	t.unsized = t.unsized || broken != nil
	*bytes -= uint64(format.Record(b.Get(k)).PayloadLen())
	*count--
	t.Ledger.Dropped++
	return t.remove(b, k)
}

// locate finds where an item lies now; nil: nowhere. Since it was listed it may have failed, or its
// time may have come.
func (s *Store) locate(t *txn, it *sender.Item) (*bolt.Bucket, []byte) {
	seq := format.ReadyKey(it.Seq)
	for _, b := range [...]*bolt.Bucket{t.Ready, t.Dead} {
		if b.Get(seq) != nil {
			return b, seq
		}
	}
	if !it.Due.IsZero() {
		if k := format.LaterKey(s.file.steady(it.Due), it.Seq, s.vault.hashName(it.Key)); t.Later.Get(k) != nil {
			return t.Later, k
		}
		if k := format.TimedKey(it.Due.UnixNano(), it.Seq); t.Timed.Get(k) != nil {
			return t.Timed, k
		}
	}
	c := t.Later.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if format.Key(k).Seq() == it.Seq {
			return t.Later, bytes.Clone(k)
		}
	}
	if it.Due.IsZero() || it.Failures > 0 {
		return nil, nil
	}
	c = t.Ready.Cursor() // its time has come, and with it a new Seq
	for k, v := c.Seek(seq); k != nil; k, v = c.Next() {
		if format.Record(v).ID() == it.ID {
			return t.Ready, bytes.Clone(k)
		}
	}
	return nil, nil
}

// reap drops dead items older than KeepDead, as part of a commit and at most a group of them. They lie
// in the order of Seq, not of death, so that it looks at all; hence not often. Only the commit
// goroutine calls it.
func (s *Store) reap(t *txn) error {
	keep, now := s.opts.KeepDead, s.file.now()
	if keep <= 0 || t.Ledger.Dead == 0 || now.Before(s.reapAt) {
		return nil
	}
	var old [][]byte
	c := t.Dead.Cursor()
	for k, v := c.First(); k != nil && len(old) < maxGroup; k, v = c.Next() {
		if at := format.Record(v).FailedAt(); !at.IsZero() && now.Sub(at) > keep && !s.underWay(k, v) {
			old = append(old, bytes.Clone(k))
		}
	}
	for _, k := range old {
		if err := t.drop(t.Dead, k); err != nil {
			return err
		}
	}
	if len(old) < maxGroup {
		s.reapAt = now.Add(max(keep/16, time.Minute))
	}
	return nil
}
