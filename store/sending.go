package store

import (
	"slices"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// An item that must not be sent twice lies in dead while its request is under way, with flagSending and
// one more entry in its log than any other: when the request began, and why it would be dead. So a crash
// leaves it there, and whoever takes it back finds what was there before.

// isSending reports whether v is the record of such an item.
func isSending(v []byte) bool { return len(v) >= offBody && v[1]&flagSending != 0 }

// announce returns a copy of record v as it lies in dead while its request is under way. Stamp it
// before use.
func announce(v []byte, at time.Time, reason string) ([]byte, error) {
	p, err := split(v)
	if err != nil {
		return nil, err
	}
	entry := writeLog([]sender.Failure{{At: at, Reason: reason}})
	n := withLog(v, p, slices.Concat(p.log, entry))
	n[1] |= flagSending
	return n, nil
}

// takeBack returns a copy of record v as it was before announce. Stamp it before use.
func takeBack(v []byte) ([]byte, error) {
	p, err := split(v)
	if err != nil {
		return nil, err
	}
	entries, err := readLog(p.log)
	if err != nil {
		return nil, err
	}
	n := withLog(v, p, writeLog(entries[:max(0, len(entries)-1)]))
	n[1] &^= flagSending
	return n, nil
}

// holds reports whether the item of an outcome is in flight from where that outcome says it was
// claimed.
func (s *Store) holds(o *settling) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.walk.flight(o) != nil
}

// sentCount counts the items in flight that lie in dead.
func (s *Store) sentCount() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(s.walk.sent)
}

// underWay reports whether record v of dead, with bucket key k, lies there only while its request is
// under way.
func (s *Store) underWay(k, v []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.walk.underWay(k, v)
}

func (w *walk) underWay(k, v []byte) bool { return isSending(v) && w.flights[keySeq(k)] != nil }
