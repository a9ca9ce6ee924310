package store

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// checkLedger says what the ledger knows of that a claim which found nothing should have met.
func (t *txn) checkLedger(w *walk) error {
	l := &t.Ledger
	if len(w.flights)+w.waiting+len(w.near) > 0 || w.hasTurns() {
		return nil
	}
	if l.Ready > 0 {
		return fmt.Errorf("%w: ready: nothing behind record %d, and the ledger has %d", ErrCorrupt, w.cursor, l.Ready)
	}
	for _, b := range [...]struct {
		name string
		b    *bolt.Bucket
		n    uint64
	}{{"timed", t.Timed, l.Timed}, {"later", t.Later, l.Later}} {
		if k, _ := b.b.Cursor().First(); k == nil && b.n > 0 {
			return fmt.Errorf("%w: %s: no records, and the ledger has %d", ErrCorrupt, b.name, b.n)
		}
	}
	return nil
}

// noteDamage notes that damage is in the way of the lane, if that is what err says.
func (s *Store) noteDamage(err error) {
	if errors.Is(err, ErrCorrupt) {
		kept := err
		s.damage.Store(&kept)
	}
}
