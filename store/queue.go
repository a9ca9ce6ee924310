package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// Append stores items, all or none, and returns when they are on disk: durably, with one commit that
// it may share with others. It assigns Seq, in order; an item whose Due is after now waits until then.
// ID is kept as it is, also when another item has the same. Payloads are not retained.
//
// ErrTooLarge and ErrFull say that nothing was stored, as does an error that says so; with Block a
// full lane makes it wait for room instead, until ctx ends, unless the items fit into no empty lane. ErrStorage, or the end of ctx during the
// commit, leaves the outcome unknown: the items may have been stored.
func (s *Store) Append(ctx context.Context, items ...sender.Item) error {
	if len(items) == 0 {
		return nil
	}
	return s.appendWith(ctx, items, func(*txn) error { return nil })
}

// appendWith appends items, and has besides write something in the same commit: an error of it undoes
// that commit, other writes and all.
func (s *Store) appendWith(ctx context.Context, items []sender.Item, besides func(*txn) error) error {
	recs, err := s.prepare(items)
	if err != nil {
		return err
	}
	size := 0
	for i := range recs {
		size += len(recs[i].value)
	}
	apply := func(t *txn) error {
		if err := s.append(t, recs); err != nil {
			return err
		}
		return besides(t)
	}
	for {
		room, err := s.open()
		if err != nil {
			return wrap("append", err)
		}
		err = s.file.do(ctx, &write{lane: s, size: size, apply: apply}, 0)
		if err == nil || !s.opts.Block || !errors.Is(err, ErrFull) || s.neverFits(recs) {
			return wrap("append", err)
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("store: append: %w; waited for room: %w: nothing was stored", err, context.Cause(ctx))
		}
	}
}

// AppendTx stores items as part of the application's own transaction, and never blocks: they are
// stored when it commits. Only for a lane opened by [In] in the database of tx. A full lane is ErrFull
// at once, whatever Block says, since what makes room needs the lock that the caller holds.
func (s *Store) AppendTx(tx *bolt.Tx, items ...sender.Item) error {
	switch {
	case tx == nil || tx.DB() == nil:
		return errors.New("store: append: the transaction has ended")
	case s.file.own || tx.DB() != s.file.db:
		return fmt.Errorf("store: append: the transaction is of another database than lane %q", s.name)
	case !tx.Writable():
		return errors.New("store: append: the transaction is for reading only")
	}
	_, err := s.open()
	if err == nil {
		err = s.file.failure()
	}
	if err != nil {
		return wrap("append", err)
	}
	recs, err := s.prepare(items)
	if err != nil {
		return err
	}
	var t *txn
	if err := guard(func() (err error) {
		if t, err = openTxn(tx, s.bucket); err != nil {
			return err
		}
		if err := s.append(t, recs); err != nil {
			return err
		}
		return t.flush()
	}); err != nil {
		return wrap("append", err)
	}
	id := uint64(tx.ID())
	tx.OnCommit(func() { s.committed(id, t, nil) })
	return nil
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s: %w", op, err)
}

// prepared is an item ready for the commit: all work that needs no lock is done.
type prepared struct {
	value   []byte
	body    uint32
	timed   int64 // NotBefore; 0: ready
	payload int
	created time.Time
}

func (s *Store) prepare(items []sender.Item) ([]prepared, error) {
	recs := make([]prepared, len(items))
	now := s.file.now()
	for i := range items {
		it := &items[i]
		if err := validate(it, s.opts.MaxPayload); err != nil {
			return nil, fmt.Errorf("store: append: %w", err)
		}
		v := encode(it)
		recs[i] = prepared{value: v, body: body(v), payload: len(it.Payload), created: it.Created}
		if it.Due.Round(0).After(now) { // the wall clock: the time is the application's
			recs[i].timed = it.Due.UnixNano()
		}
	}
	return recs, nil
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
		seq, err := t.root.NextSequence()
		if err != nil {
			return err
		}
		b, k := t.ready, readyKey(seq)
		if r.timed != 0 {
			b, k = t.timed, timedKey(r.timed, seq)
			t.ledger.Timed++
		} else {
			t.ledger.Ready++
			if t.firstCreated.IsZero() {
				t.firstCreated = r.created
			}
		}
		seal(r.value, r.body, k)
		if err := b.Put(k, r.value); err != nil {
			return err
		}
	}
	t.ledger.Put += uint64(len(recs))
	t.ledger.Bytes += uint64(size)
	t.appended = true
	return nil
}

// admit refuses what would go beyond MaxPending or MaxBytes.
func (s *Store) admit(t *txn, items, size int) error {
	if n := t.ledger.pending(); s.opts.MaxPending > 0 && n+uint64(items) > uint64(s.opts.MaxPending) {
		return fmt.Errorf("%w: %d pending and %d more, at most %d (MaxPending): nothing was stored", ErrFull, n, items, s.opts.MaxPending)
	}
	if n := t.ledger.Bytes + t.ledger.DeadBytes; s.opts.MaxBytes > 0 && n+uint64(size) > uint64(s.opts.MaxBytes) {
		return fmt.Errorf("%w: %d bytes and %d more, at most %d (MaxBytes): nothing was stored", ErrFull, n, size, s.opts.MaxBytes)
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

// settling is an outcome on its way into a commit.
type settling struct {
	sender.Outcome
	due   int64 // the item's place in later; 0: in ready
	hash  uint64
	found bool // it lay there, or where the outcome puts it; set by apply
}

func (o *settling) key() []byte {
	if o.due == 0 {
		return readyKey(o.Item.Seq)
	}
	return laterKey(o.due, o.Item.Seq, o.hash)
}

// compare orders by place, so that what is deleted together lies together.
func (o *settling) compare(p *settling) int {
	return cmp.Or(cmp.Compare(o.due, p.due), cmp.Compare(o.Item.Seq, p.Item.Seq))
}

// Settle records outcomes; see [sender.Queue]. It lets them wait up to Gather for a commit that comes
// anyway, unless one of them has somebody waiting for its key, or brings a pause. When ctx ends the
// outcome is unknown and the call may be repeated.
func (s *Store) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) == 0 {
		s.file.kick()
		return nil
	}
	if s.closed.Load() {
		return fmt.Errorf("store: settle: %w", ErrClosed)
	}
	w := &write{lane: s, outcomes: make([]settling, len(outcomes))}
	durable := false
	for i, o := range outcomes {
		st := settling{Outcome: o, hash: hashKey(o.Item.Key)}
		if !o.Item.Due.IsZero() {
			st.due = s.file.steady(o.Item.Due)
		}
		w.outcomes[i] = st
		durable = durable || o.Verdict != sender.Released || !o.Pause.IsZero()
	}
	if !durable {
		return wrap("settle", s.releaseAll(w.outcomes))
	}
	gather := s.opts.Gather
	s.mu.Lock()
	for i := range w.outcomes {
		if o := &w.outcomes[i]; s.walk.awaited(o) || !o.Pause.IsZero() {
			gather = 0
		}
	}
	s.mu.Unlock()
	return wrap("settle", s.file.do(ctx, w, gather))
}

// releaseAll frees items without touching the file. Of one that lay in later it must know whether it
// still does: if it was dropped, the next of its key has its turn.
func (s *Store) releaseAll(os []settling) error {
	if err := s.file.view(func(tx *bolt.Tx) error {
		t, err := openTxn(tx, s.bucket)
		if err != nil {
			return err
		}
		for i := range os {
			os[i].found = os[i].due == 0 || t.later.Get(os[i].key()) != nil
		}
		return nil
	}); err != nil {
		return err
	}
	s.mu.Lock()
	for i := len(os) - 1; i >= 0; i-- { // each goes to the front: the first of them last
		s.walk.settled(&os[i])
	}
	s.publish()
	s.mu.Unlock()
	return nil
}

// apply makes the transition of one outcome. An item that is not where it was claimed was dropped, or
// this is a repetition: nothing changes and nothing is counted.
func (o *settling) apply(s *Store, t *txn) error {
	if !o.Pause.IsZero() {
		if o.Pause.After(s.Paused()) && o.Pause.After(t.pause) {
			t.pause = o.Pause
			if err := t.setPaused(s.file.steady(o.Pause), s.file.steady(s.file.now())); err != nil {
				return err
			}
		}
	}
	b, count := t.ready, &t.ledger.Ready
	if o.due != 0 {
		b, count = t.later, &t.ledger.Later
	}
	k := o.key()
	v := b.Get(k)
	if o.found = v != nil; v == nil || o.Verdict == sender.Released {
		if v == nil && o.Verdict == sender.Retry {
			o.found = t.later.Get(laterKey(t.retryAt(s.file, o), o.Item.Seq, o.hash)) != nil
		}
		return nil
	}
	size := uint64(len(o.Item.Payload))
	if p, err := split(v); err == nil {
		size = uint64(len(p.payload)) // as it was counted, whatever became of the item since
	}
	if o.Verdict == sender.Retry || o.Verdict == sender.Dead {
		if !intact(k, v) { // it was when it was claimed
			o.Verdict = sender.Dead
			return t.bury(b, count, k, s.file.now())
		}
		it := &o.Item
		at := it.Failed
		if was := recordFailures(v); it.Failures <= was { // put off, which is no failure
			at = time.Time{}
			if was == 0 && it.LastErr != "" {
				at = s.file.now() // but the only reason there is
			}
		}
		rec, err := amend(v, it.Attempts, it.Failures, at, it.LastErr)
		if err != nil {
			return err
		}
		if o.Verdict == sender.Retry {
			err = t.retry(s.file, o, rec)
		} else {
			err = add(t.dead, readyKey(it.Seq), rec)
			t.ledger.Dead++
			t.ledger.Bytes -= size
			t.ledger.DeadBytes += size
		}
		if err != nil {
			return err
		}
	} else {
		t.ledger.Bytes -= size
		if o.Verdict == sender.Delivered {
			t.ledger.Delivered++
		} else {
			t.ledger.Expired++
		}
	}
	if o.Verdict == sender.Retry && t.retryAt(s.file, o) == o.due {
		return nil // rewritten in its place
	}
	*count--
	return b.Delete(k)
}

// retryAt is the due time of a retry as a place in later, where 0 is none.
func (t *txn) retryAt(f *file, o *settling) int64 { return max(f.steady(o.Due), 1) }

// retry puts a failed item into later, and remembers the longest delay, by which a clock that was
// wrong is found out.
func (t *txn) retry(f *file, o *settling, rec []byte) error {
	due := t.retryAt(f, o)
	if d := time.Duration(due - f.steady(f.now())); d > t.longest {
		if err := t.setLongest(d); err != nil {
			return err
		}
	}
	if due != o.due {
		t.ledger.Later++
	}
	return add(t.later, laterKey(due, o.Item.Seq, o.hash), rec)
}

// bury moves a record that does not decode to the dead, as it is and with its reason.
func (t *txn) bury(b *bolt.Bucket, count *uint64, k []byte, now time.Time) error {
	v := bytes.Clone(b.Get(k))
	_, why := decode(k, v)
	if why == nil {
		why = errors.New("it could not be read when it was claimed")
	}
	if err := b.Delete(k); err != nil {
		return err
	}
	*count--
	t.ledger.Dead++
	t.ledger.DeadBytes += uint64(len(v))
	if err := add(t.dead, readyKey(keySeq(k)), damaged(v, now, why)); err != nil {
		return err
	}
	if _, err := split(v); err == nil {
		t.ledger.Bytes -= uint64(payloadLen(v))
		return nil
	}
	return t.recount()
}

// recount counts the bytes of all payloads again, after a record has gone whose own size was lost.
func (t *txn) recount() error {
	t.ledger.Bytes, t.ledger.DeadBytes = 0, 0
	for _, c := range [...]struct {
		b  *bolt.Bucket
		to *uint64
	}{{t.ready, &t.ledger.Bytes}, {t.timed, &t.ledger.Bytes}, {t.later, &t.ledger.Bytes}, {t.dead, &t.ledger.DeadBytes}} {
		if err := c.b.ForEach(func(_, v []byte) error {
			*c.to += uint64(payloadLen(v))
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
