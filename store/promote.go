package store

import (
	"bytes"
	"context"
	"time"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// promote moves scheduled items whose time has come to the end of ready, under a new Seq: their place
// in the order is that moment. The wall clock decides.
func (s *Store) promote(ctx context.Context, now time.Time) error {
	return s.file.do(ctx, &write{lane: s, apply: func(t *txn) error {
		for n := range maxGroup {
			k, v := t.Timed.Cursor().First()
			if k == nil {
				return nil
			}
			err := t.CheckEntry("timed", k, v, 16)
			if err != nil && n == 0 {
				return refused{err}
			}
			if err != nil || format.Key(k).Due() > now.UnixNano() {
				return nil
			}
			if t.Timed.Get(k) == nil {
				return format.Unreachable("timed", k)
			}
			seq, err := t.Root.NextSequence()
			if err != nil {
				return err
			}
			from, to := bytes.Clone(k), format.ReadyKey(seq)
			rec, err := s.replant(from, v, to)
			if err != nil {
				return err
			}
			t.Ledger.Bytes += uint64(format.Record(rec).PayloadLen()) - uint64(format.Record(v).PayloadLen())
			if err := t.remove(t.Timed, from); err != nil {
				return err
			}
			if err := t.Ready.Put(to, rec); err != nil {
				return err
			}
			t.Ledger.Timed--
			t.Ledger.Ready++
			t.appended = true
		}
		return nil
	}}, 0)
}

// replant returns a copy of record v for another bucket key, with another Seq: in a sealed lane a plain
// one is sealed for it. A damaged record stays damaged.
func (s *Store) replant(from, v, to []byte) ([]byte, error) {
	if s.vault.sealer != nil && !format.Record(v).IsSealed() {
		if plain, err := s.vault.open(from, v); err == nil {
			rec, err := s.vault.seal(plain)
			if err == nil {
				format.Record(rec).SetSum(format.Record(rec).BodySum(), to)
			}
			return rec, err
		}
	}
	rec := bytes.Clone(v)
	format.Record(rec).MoveSum(from, to)
	return rec, nil
}
