package store

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// maxBuried is how many bytes of a damaged record are kept among the dead.
const maxBuried = 16 << 20

// buryAll moves claimed records that do not decode to the dead.
func (s *Store) buryAll(bad []place) error {
	for len(bad) > 0 {
		n := 0
		if err := s.file.do(context.Background(), &write{
			lane: s,
			apply: func(t *txn) (err error) {
				n, err = s.burySome(t, bad)
				return err
			},
			after: func() {
				for _, p := range bad[:n] {
					s.walk.land(format.Key(p.key).Seq())
					s.walk.pass(p.hash)
				}
			},
		}, 0); err != nil {
			return err
		}
		bad = bad[n:]
	}
	return nil
}

// burySome buries as many as fit into a commit, and returns how many it has done with.
func (s *Store) burySome(t *txn, bad []place) (n int, err error) {
	size := 0
	for ; n < len(bad) && size < maxGroupBytes; n++ {
		k := bad[n].key
		from := entry{t.Ready, k, &t.Ledger.Ready, &t.Ledger.Bytes}
		if len(k) > 8 {
			from = t.inLater(k)
		}
		v := from.bucket.Get(k)
		if v == nil {
			if format.ScanFor(from.bucket, k) {
				return n, format.Unreachable("a bucket", k)
			}
			continue // dropped by its owner
		}
		size += min(len(v), maxBuried)
		if err := s.bury(t, from); err != nil {
			return n, err
		}
	}
	return n, nil
}

// bury moves a record that does not decode to the dead, as it is and with its reason.
func (s *Store) bury(t *txn, from entry) error {
	k := from.key
	v := from.bucket.Get(k)
	_, why := s.vault.decode(k, v)
	if why == nil {
		why = errors.New("it could not be read when it was claimed")
	}
	if len(v) > maxBuried {
		why = fmt.Errorf("%w; of its %d bytes the first %d are kept", why, len(v), maxBuried)
	}
	rec, err := s.vault.seal(format.Quarantine(v[:min(len(v), maxBuried)], s.file.now(), why))
	if err != nil {
		return err
	}
	if format.Record(v).Intact(k) {
		*from.bytes -= uint64(format.Record(v).PayloadLen())
	} else {
		t.unsized = true
	}
	*from.count--
	if err := t.remove(from.bucket, k); err != nil {
		return err
	}
	t.Ledger.Dead++
	t.Ledger.DeadBytes += uint64(format.Record(rec).PayloadLen())
	return add(t.Dead, format.ReadyKey(format.Key(k).Seq()), rec)
}

// recount counts the bytes of all payloads again.
func (t *txn) recount() error {
	t.unsized = false
	t.Ledger.Bytes, t.Ledger.DeadBytes = 0, 0
	for _, c := range [...]struct {
		b  *bolt.Bucket
		to *uint64
	}{{t.Ready, &t.Ledger.Bytes}, {t.Timed, &t.Ledger.Bytes}, {t.Later, &t.Ledger.Bytes}, {t.Dead, &t.Ledger.DeadBytes}} {
		if err := c.b.ForEach(func(_, v []byte) error {
			*c.to += uint64(format.Record(v).PayloadLen())
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
