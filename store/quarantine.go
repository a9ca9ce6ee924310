package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed8107221f/outbox/internal/order"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

const (
	maxMoves = boltfile.MaxGroup // records that one housekeeping commit moves or drops
)

// quarantineAll moves claimed records that do not decode to dead, in commits of limited size. A
// crash between them leaves the rest where it was, and the next claim meets it again.
func (s *Store) quarantineAll(bad []place) error {
	for len(bad) > 0 {
		n := 0
		w := s.newWrite()
		w.apply = func(t *txn) (err error) {
			n, err = t.quarantineSome(bad)
			return err
		}
		w.after = func() {
			for _, p := range bad[:n] {
				s.order.Settled(p.claimed(), order.Gone, false)
			}
		}
		if err := s.do(context.Background(), w, 0); err != nil {
			return err
		}
		bad = bad[n:]
	}
	return nil
}

// claimed is a place as the order knows it. The Key of an item of ready or dead is missing: the
// order knows the key of each item in flight.
func (p place) claimed() order.Place {
	if p.in == later {
		return order.Place{Seq: p.key.Seq(), Due: p.key.Due(), Key: p.key.Hash()}
	}
	return order.Place{Seq: p.key.Seq()}
}

// quarantineSome moves as many records as fit into one commit. n is how many of bad are done.
func (t *txn) quarantineSome(bad []place) (n int, err error) {
	size := 0
	for ; n < len(bad) && size < boltfile.MaxGroupBytes; n++ {
		p := bad[n]
		v := t.at(p)
		if v == nil {
			if format.ScanFor(t.bucket(p.in), p.key) {
				return n, format.Unreachable(p.in.String(), p.key)
			}
			continue // dropped by its owner
		}
		size += min(len(v), format.MaxQuarantined)
		if err := t.quarantine(p); err != nil {
			return n, err
		}
	}
	return n, nil
}

// quarantine moves a record that does not decode to dead, with the reason. The bytes of the record
// become the payload of the dead item.
func (t *txn) quarantine(from place) error {
	v := t.at(from)
	_, why := t.s.codec.decode(from.key, v)
	if why == nil {
		why = errors.New("it could not be read when it was claimed")
	}
	if len(v) > format.MaxQuarantined {
		why = fmt.Errorf("%w; of its %d bytes the first %d are kept", why, len(v), format.MaxQuarantined)
	}
	rec, err := t.s.codec.seal(format.Quarantine(v[:min(len(v), format.MaxQuarantined)], t.s.clock.now(), why))
	if err != nil {
		return err
	}
	t.unsized = t.unsized || !v.Intact(from.key) // what it says of its size may be wrong
	to := place{dead, format.ReadyKey(from.key.Seq())}
	rec.SetSum(rec.BodySum(), to.key)
	return t.move(from, to, rec)
}
