package store

import (
	"sync"
	"time"
)

// Counts is what a lane holds, and what it has held since it was made.
type Counts struct {
	Ready     int // could be sent now, or after those before it
	Scheduled int // their time has not come
	Retrying  int // failed, waiting for the next try
	InLine    int // met behind an earlier item of their key, waiting for it
	InFlight  int // handed out and not settled
	Dead      int // given up, but for those in flight that are on disk as dead: sent at most once

	Bytes     int64 // of pending payloads
	DeadBytes int64 // of those on disk as dead, in flight or not

	Oldest      time.Time // Created of the next item to be handed out, as last seen; zero: none is known
	PausedUntil time.Time // end of the kept pause; zero: none was ever asked for

	Put, Delivered, Expired, Dropped uint64 // the ledger: Put = Pending + Dead + Delivered + Expired + Dropped

	pending int // by the ledger

	// Failed is why the lane stands still, or soon will: the last commit failed and the file has not
	// healed, or Claim has met damage that it cannot pass, see [Salvage]. nil: all is well.
	Failed error
}

// Pending is the number of items not yet delivered, dead, expired or dropped, by the ledger, which after
// a crash counts as dead those that were in flight to be sent at most once. Ready, Scheduled, Retrying, InLine and InFlight add up to it, but for items dropped while they were in
// flight or in line, which those two count until they are settled or met.
func (c *Counts) Pending() int { return c.pending }

// Counts returns a consistent snapshot, as of the last commit and the last claim. It never waits for
// the disk.
func (s *Store) Counts() Counts {
	c := s.counts.load()
	if c.Failed = s.file.failure(); c.Failed == nil {
		if err := s.damage.Load(); err != nil {
			c.Failed = *err
		}
	}
	return c
}

// publish makes a snapshot of what s.mu guards; it is held. While the walk knows more than the ledger
// the two do not add up, and the old snapshot stands until the commit between them is learnt of.
func (s *Store) publish() {
	if s.ahead {
		return
	}
	l, w := &s.ledger, &s.walk
	old := s.counts.load()
	c := Counts{
		Scheduled:   int(l.Timed),
		Retrying:    max(0, int(l.Later)-w.flightsLater),
		InLine:      w.waiting,
		InFlight:    len(w.flights),
		Dead:        max(0, int(l.Dead)-w.sent),
		pending:     int(l.pending()) + w.sent,
		Bytes:       int64(l.Bytes),
		DeadBytes:   int64(l.DeadBytes),
		Oldest:      s.oldest,
		PausedUntil: s.pause,
		Put:         l.Put, Delivered: l.Delivered, Expired: l.Expired, Dropped: l.Dropped,
	}
	c.Ready = max(0, c.pending-c.Scheduled-c.Retrying-c.InLine-c.InFlight)
	s.counts.store(c)
	if c.pending < old.pending || l.Bytes+l.DeadBytes < uint64(old.Bytes+old.DeadBytes) {
		s.makeRoom()
	}
}

// makeRoom lets those who wait for room try again. s.mu is held.
func (s *Store) makeRoom() {
	close(s.room)
	s.room = make(chan struct{})
}

// committed brings memory up to date after transaction id, of which t is this lane's part and done
// the writes, of other lanes too. Those of other transactions may have been faster.
func (s *Store) committed(id uint64, t *txn, done []*write) {
	s.mu.Lock()
	s.learn(id, t)
	s.ahead = false
	s.walk.known = false
	more := t.appended
	for _, w := range done {
		if w.lane != s {
			continue
		}
		if w.after != nil {
			w.after()
		}
		for i := range w.outcomes {
			s.walk.settled(&w.outcomes[i])
		}
	}
	more = more || s.walk.hasTurns()
	s.publish()
	notify := s.notify
	s.mu.Unlock()
	if more && notify != nil {
		notify()
	}
}

// learn takes over what transaction id knows, unless a newer one was here before. s.mu is held.
func (s *Store) learn(id uint64, t *txn) {
	if id < s.txid {
		return
	}
	if s.ledger.pending() == 0 {
		s.oldest = t.firstCreated
	}
	s.txid, s.ledger, s.longest = id, t.ledger, max(s.longest, t.longest)
	if t.pause.After(s.pause) {
		s.pause = t.pause
	}
}

// snapshot is the latest Counts. Its mutex is a leaf, held for a copy: a snapshot is made for each claim,
// and a pointer would make that garbage.
type snapshot struct {
	mu     sync.Mutex
	latest Counts
}

func (s *snapshot) load() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

func (s *snapshot) store(c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = c
}
