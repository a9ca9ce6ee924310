package store

import "github.com/seed8107221f/outbox/store/internal/format"

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

func (w *walk) underWay(k, v []byte) bool {
	return format.Record(v).IsSending() && w.flights[format.Key(k).Seq()] != nil
}
