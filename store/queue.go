package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// Append stores items, all or none, and returns when they are on disk: durably, with one commit that
// it may share with others. It assigns Seq, in order; an item whose Due is after now waits until then.
// ID is kept as it is, also when another item has the same. Payloads are not retained.
//
// sender.ErrTooLarge and sender.ErrFull say that nothing was stored, as does an error that says so; with Block a
// full lane makes it wait for room instead, until ctx ends, unless the items fit into no empty lane. sender.ErrStorage, or the end of ctx during the
// commit, leaves the outcome unknown: the items may have been stored.
func (s *Store) Append(ctx context.Context, items ...sender.Item) error {
	if len(items) == 0 {
		return nil
	}
	return s.appendWith(ctx, items, nil)
}

// appendWith appends items, and has besides, unless it is nil, write something in the same commit: an error
// of it undoes that commit, other writes and all.
func (s *Store) appendWith(ctx context.Context, items []sender.Item, besides func(*txn) error) error {
	w := s.newWrite()
	w.apply = besides
	if err := s.prepare(w, items); err != nil {
		return s.wrap("append", err)
	}
	for {
		room, err := s.open()
		if err != nil {
			return s.wrap("append", err)
		}
		if err = s.do(ctx, w, 0); err == nil {
			s.reuse(w)
			return nil
		}
		if !s.opts.Block || !errors.Is(err, sender.ErrFull) || s.neverFits(w.records) {
			return s.wrap("append", err)
		}
		w = s.again(w)
		var again <-chan time.Time
		if errors.Is(err, boltfile.ErrNoSpace) {
			again = time.After(boltfile.FullFor) // others may make room, and nobody tells
		}
		select {
		case <-room:
		case <-again:
		case <-ctx.Done():
			return s.wrap("append", fmt.Errorf("%w; waited for room: %w: nothing was stored", err, context.Cause(ctx)))
		}
	}
}

// AppendTx stores items as part of the application's own transaction, and never blocks: they are
// stored when it commits. Only for a lane opened by [In] in the database of tx. A full lane is sender.ErrFull
// at once, whatever Block says, since what makes room needs the lock that the caller holds.
func (s *Store) AppendTx(tx *bolt.Tx, items ...sender.Item) error {
	return s.wrap("append", s.appendTx(tx, items))
}

func (s *Store) appendTx(tx *bolt.Tx, items []sender.Item) error {
	switch {
	case tx == nil || tx.DB() == nil:
		return errors.New("the transaction has ended")
	case !s.file.Serves(tx.DB()):
		return errors.New("the transaction is of another database")
	case !tx.Writable():
		return errors.New("the transaction is for reading only")
	}
	_, err := s.open()
	if err == nil {
		err = naming(s.file.Err())
	}
	if err != nil {
		return err
	}
	var w write // of another commit than the file's
	if err := s.prepare(&w, items); err != nil {
		return err
	}
	var t *txn
	if err := boltfile.Catch(func() (err error) {
		if t, err = s.openTxn(tx); err != nil {
			return err
		}
		if err := s.append(t, w.records); err != nil {
			return err
		}
		return t.flush()
	}); err != nil {
		return err
	}
	id := uint64(tx.ID())
	tx.OnCommit(func() { s.committed(id, t, nil) })
	return nil
}

// prepared is an item ready for the commit: all work that needs no lock is done.
type prepared struct {
	value   format.Record
	bodySum uint32
	timed   int64 // NotBefore; 0: ready
	payload int   // by payloadLen
	created time.Time
	room    [16]byte // for its bucket key
}

// prepare makes items the records of a write.
func (s *Store) prepare(w *write, items []sender.Item) error {
	w.records = slices.Grow(w.records, len(items))
	w.Items = len(items)
	now := s.clock.now()
	for i := range items {
		it := &items[i]
		if err := format.Validate(it, s.opts.MaxPayload); err != nil {
			return err
		}
		v, err := s.codec.seal(format.Encode(it))
		if err != nil {
			return fmt.Errorf("%w: nothing was stored", err)
		}
		p := prepared{value: v, bodySum: v.BodySum(), payload: v.PayloadLen(), created: it.Created}
		if it.Due.Round(0).After(now) { // the wall clock: the time is the application's
			p.timed = it.Due.UnixNano()
			w.Scattered = true
		}
		w.records = append(w.records, p)
		w.Bytes += len(v)
		w.Largest = max(w.Largest, len(v))
	}
	return nil
}

// append puts what prepare made into its buckets.
func (s *Store) append(t *txn, recs []prepared) error {
	if len(recs) == 0 {
		return nil
	}
	size := 0
	for i := range recs {
		size += recs[i].payload
	}
	if err := s.admit(t, len(recs), size); err != nil {
		return refused{err}
	}
	for i := range recs {
		r := &recs[i]
		seq, err := t.Root.NextSequence()
		if err != nil {
			return err
		}
		to := place{ready, format.AppendReadyKey(r.room[:0], seq)}
		if r.timed != 0 {
			to = place{timed, format.AppendTimedKey(r.room[:0], r.timed, seq)}
		} else if t.firstCreated.IsZero() {
			t.firstCreated = r.created
		}
		if err := t.KeepLargest(len(r.value)); err != nil {
			return err
		}
		r.value.SetSum(r.bodySum, to.key)
		if err := t.put(to, r.value); err != nil {
			return err
		}
	}
	t.Ledger.Put += uint64(len(recs))
	t.appended = true
	return nil
}

// admit refuses what would go beyond MaxPending or MaxBytes.
func (s *Store) admit(t *txn, items, size int) error {
	if n := t.Ledger.Pending() + s.sentCount(); s.opts.MaxPending > 0 && n+uint64(items) > uint64(s.opts.MaxPending) {
		return fmt.Errorf("%w: %d pending and %d more, at most %d (MaxPending): nothing was stored", sender.ErrFull, n, items, s.opts.MaxPending)
	}
	if n := t.Ledger.Bytes + t.Ledger.DeadBytes; s.opts.MaxBytes > 0 && n+uint64(size) > uint64(s.opts.MaxBytes) {
		return fmt.Errorf("%w: %d bytes and %d more, at most %d (MaxBytes): nothing was stored", sender.ErrFull, n, size, s.opts.MaxBytes)
	}
	return nil
}

// neverFits reports whether not even an empty lane has room, so that there is nothing to wait for.
func (s *Store) neverFits(recs []prepared) bool {
	size := 0
	for i := range recs {
		size += recs[i].payload
	}
	return s.opts.MaxPending > 0 && len(recs) > s.opts.MaxPending || s.opts.MaxBytes > 0 && int64(size) > s.opts.MaxBytes
}
