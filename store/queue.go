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

// Append stores items, all or none, and returns when they are on disk. It may share its commit with
// other calls. Seqs are assigned in the order of items. An item with a Due after now, by the wall
// clock, is not sent before Due. IDs are stored as they are, even if another item has the same ID.
// Append does not keep the payloads. Without items it does nothing.
//
// sender.ErrTooLarge and sender.ErrFull mean that nothing was stored. With Options.Block a full
// lane makes Append wait for room until ctx ends; items that do not fit into an empty lane are
// ErrFull at once. After sender.ErrStorage, or if ctx ends during the commit, the items may have
// been stored or not. An error that says "nothing was stored" is certain.
func (s *Store) Append(ctx context.Context, items ...sender.Item) error {
	if len(items) == 0 {
		return nil
	}
	return s.appendWith(ctx, items, nil)
}

// appendWith appends items. besides, unless nil, writes something in the same commit. An error of
// besides fails the whole commit, including the writes of other callers.
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
			again = time.After(boltfile.FullFor) // nothing reports free disk space
		}
		select {
		case <-room:
		case <-again:
		case <-ctx.Done():
			return s.wrap("append", fmt.Errorf("%w; waited for room: %w", err, context.Cause(ctx))) // ErrFull says that nothing was stored
		}
	}
}

// AppendTx stores items inside the application's own transaction. They are stored when tx commits.
// The lane must be opened by [In] in the database of tx, and tx must be writable; anything else is
// an error.
//
// AppendTx never blocks. A full lane is sender.ErrFull at once, even with Options.Block: settled
// items make room, and their commit needs the lock that the caller of AppendTx holds.
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
	if _, err := s.open(); err != nil {
		return err
	}
	if err := s.file.Join(tx); err != nil {
		return naming(fmt.Errorf("%w: nothing was stored", err))
	}
	var w write // it never goes to the commit goroutine: tx is the commit
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

// prepared is an item that is encoded and sealed. The commit only assigns its Seq and its checksum.
type prepared struct {
	value   format.Record
	bodySum uint32
	timed   int64    // NotBefore, nanoseconds since 1970; 0: it goes into ready
	payload int      // bytes, see format.Record.PayloadLen
	room    [16]byte // for its bucket key
}

// prepare validates, encodes and seals items and adds them to the records of w. It needs no lock.
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
		p := prepared{value: v, bodySum: v.BodySum(), payload: v.PayloadLen()}
		if it.Due.Round(0).After(now) { // by the wall clock, since the application chose the time
			p.timed = it.Due.UnixNano()
			w.Scattered = true
		}
		w.records = append(w.records, p)
		w.Bytes += len(v)
		w.Largest = max(w.Largest, len(v))
	}
	return nil
}

// append puts prepared records into ready or timed. The commit goroutine calls it, or AppendTx. It
// may run again for the same records after a failed commit, and assigns new Seqs then.
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

// admit returns an error if the lane would hold more than MaxPending items or MaxBytes bytes, or
// has no Seq left for so many.
func (s *Store) admit(t *txn, items, size int) error {
	if err := t.checkSeqs(items); err != nil {
		return err
	}
	if n := t.Ledger.Pending() + s.sentCount(); s.opts.MaxPending > 0 && n+uint64(items) > uint64(s.opts.MaxPending) {
		return fmt.Errorf("%w: %d pending and %d more, at most %d (MaxPending): nothing was stored", sender.ErrFull, n, items, s.opts.MaxPending)
	}
	return s.admitBytes(t, size)
}

// admitBytes returns an error if the lane would hold more than MaxBytes bytes.
func (s *Store) admitBytes(t *txn, size int) error {
	if n := t.Ledger.Bytes + t.Ledger.DeadBytes; s.opts.MaxBytes > 0 && n+uint64(size) > uint64(s.opts.MaxBytes) {
		return fmt.Errorf("%w: %d bytes and %d more, at most %d (MaxBytes): nothing was stored", sender.ErrFull, n, size, s.opts.MaxBytes)
	}
	return nil
}

// neverFits reports whether not even an empty lane has room for the records, so that waiting for
// room would never end.
func (s *Store) neverFits(recs []prepared) bool {
	size := 0
	for i := range recs {
		size += recs[i].payload
	}
	return s.opts.MaxPending > 0 && len(recs) > s.opts.MaxPending || s.opts.MaxBytes > 0 && int64(size) > s.opts.MaxBytes
}
