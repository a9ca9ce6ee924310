package store

import (
	"bytes"
	"context"
	"time"
)

// promote moves scheduled items whose time has come to the end of ready, under a new Seq: their place
// in the order is that moment. The wall clock decides.
func (s *Store) promote(ctx context.Context, now time.Time) error {
	return s.file.do(ctx, &write{lane: s, apply: func(t *txn) error {
		for n := range maxGroup {
			k, v := t.timed.Cursor().First()
			if k == nil {
				return nil
			}
			err := t.met("timed", k, v, 16)
			if err != nil && n == 0 {
				return refused{err}
			}
			if err != nil || keyDue(k) > now.UnixNano() {
				return nil
			}
			if t.timed.Get(k) == nil {
				return unfound("timed", k)
			}
			seq, err := t.root.NextSequence()
			if err != nil {
				return err
			}
			from, to := bytes.Clone(k), readyKey(seq)
			rec, err := s.replant(from, v, to)
			if err != nil {
				return err
			}
			t.ledger.Bytes += uint64(payloadLen(rec)) - uint64(payloadLen(v))
			if err := t.remove(t.timed, from); err != nil {
				return err
			}
			if err := t.ready.Put(to, rec); err != nil {
				return err
			}
			t.ledger.Timed--
			t.ledger.Ready++
			t.appended = true
		}
		return nil
	}}, 0)
}

// replant returns a copy of record v for another bucket key, with another Seq: in a sealed lane a plain
// one is sealed for it. A damaged record stays damaged.
func (s *Store) replant(from, v, to []byte) ([]byte, error) {
	if s.vault.sealer != nil && !isSealed(v) {
		if plain, err := s.vault.open(from, v); err == nil {
			rec, err := s.vault.seal(plain)
			if err == nil {
				stamp(rec, body(rec), to)
			}
			return rec, err
		}
	}
	rec := bytes.Clone(v)
	restamp(rec, from, to)
	return rec, nil
}
