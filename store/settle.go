package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// settling is an outcome on its way into a commit.
type settling struct {
	sender.Outcome
	due   int64 // the item's place in later; 0: in ready
	hash  uint64
	room  [24]byte // for key
	found bool     // it lay there, or among the dead as Sending, or where the outcome puts it; set by apply
}

func (o *settling) key() []byte {
	if o.due == 0 {
		return binary.BigEndian.AppendUint64(o.room[:0], o.Item.Seq)
	}
	return format.AppendLaterKey(o.room[:0], o.due, o.Item.Seq, o.hash)
}

// compare orders by place, so that what is deleted together lies together.
func (o *settling) compare(p *settling) int {
	return cmp.Or(cmp.Compare(o.due, p.due), cmp.Compare(o.Item.Seq, p.Item.Seq))
}

// Settle records outcomes; see [sender.Queue]. It lets them wait up to Gather for a commit that comes
// anyway, unless one of them has somebody waiting for its key, is Sending, or brings a pause. When ctx
// ends the outcome is unknown and the call may be repeated.
func (s *Store) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	if len(outcomes) == 0 {
		return nil
	}
	if s.closed.Load() {
		return fmt.Errorf("store: settle: %w", sender.ErrClosed)
	}
	w := s.settling(outcomes)
	gather, durable := s.opts.Gather, false
	s.mu.Lock()
	for i := range w.outcomes {
		o := &w.outcomes[i]
		s.walk.announce(o)
		durable = durable || o.Verdict != sender.Released || !o.PauseUntil.IsZero() || s.walk.announced(o)
		if s.walk.awaited(o) || !o.PauseUntil.IsZero() || o.Verdict == sender.Sending {
			gather = 0
		}
	}
	s.mu.Unlock()
	var err error
	if !durable && s.file.failure() == nil { // else a commit heals the file first
		err = s.releaseAll(w.outcomes)
	} else {
		err = s.file.do(ctx, w, gather)
	}
	if err == nil {
		s.file.reuse(w)
	}
	return wrap("settle", err)
}

// settling makes a write of outcomes.
func (s *Store) settling(outcomes []sender.Outcome) *write {
	w := s.file.write(s)
	w.outcomes = slices.Grow(w.outcomes, len(outcomes))
	for i := range outcomes {
		o := settling{Outcome: outcomes[i], hash: s.vault.hashName(outcomes[i].Item.Key)}
		if !o.Item.Due.IsZero() {
			o.due = s.file.steady(o.Item.Due)
		}
		w.outcomes = append(w.outcomes, o)
	}
	return w
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
			os[i].found = os[i].due == 0 || t.Later.Get(os[i].key()) != nil
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
