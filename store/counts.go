package store

import (
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
)

// Counts returns a consistent snapshot as of the last commit and the last claim. It never waits for
// the disk. Err is set when a commit failed and the file has not healed, or when damage stops a
// claim.
func (s *Store) Counts() sender.Counts {
	c := s.counts.load()
	if c.Err = s.wrap("commit", naming(s.file.Err())); c.Err == nil {
		if err := s.damage.Load(); err != nil {
			c.Err = s.wrap("claim", *err)
		}
	}
	return c
}

// publish makes the snapshot that Counts returns from what s.mu guards. s.mu is held.
//
// A claim may have read a commit of which committed has not told memory yet (ahead). Then order and
// ledger do not add up, and the old snapshot stays until committed is called. The same holds if an
// application's transaction is reported before an older commit of ours: the ledger has its
// outcomes, and the order does not know of them yet (unreported).
func (s *Store) publish() {
	if s.ahead || s.unreported != 0 && s.unreported < s.txid {
		return
	}
	l, n := &s.ledger, s.order.Counts()
	old := s.counts.load()
	c := sender.Counts{
		Scheduled:   int(l.Timed),
		Retrying:    max(0, int(l.Later)-n.Later),
		InLine:      n.InLine,
		InFlight:    n.InFlight,
		Dead:        max(0, int(l.Dead)-n.Sent),
		Pending:     int(l.Pending()) + n.Sent,
		Bytes:       int64(l.Bytes),
		DeadBytes:   int64(l.DeadBytes),
		Oldest:      s.oldest(),
		OldestReady: s.firstReady,
		PausedUntil: s.pause,
		Put:         l.Put, Delivered: l.Delivered, Expired: l.Expired, Dropped: l.Dropped,
	}
	c.Ready = max(0, c.Pending-c.Scheduled-c.Retrying-c.InLine-c.InFlight)
	s.counts.store(c)
	if c.Pending < old.Pending || l.Bytes+l.DeadBytes < uint64(old.Bytes+old.DeadBytes) {
		s.makeRoom()
	}
}

// makeRoom wakes the calls of Append that wait for room, so that they try again. s.mu is held.
func (s *Store) makeRoom() {
	close(s.room)
	s.room = make(chan struct{})
}

// committed updates memory after transaction id is on disk. t is the part of this lane in it, and
// group its writes, for which it calls after; nil: it is an application's transaction. The
// transactions of an application may be reported in another order than they committed.
func (s *Store) committed(id uint64, t *txn, group []*boltfile.Write) {
	s.mu.Lock()
	if s.learn(id, t); group != nil {
		s.unreported = 0
	}
	if s.file.Own() || id >= s.seenTxid || s.ledger == s.seen { // else a newer one has yet to be learnt of
		s.ahead = false
	}
	s.untilKnown = false
	s.commits++
	for _, b := range group {
		w, ok := b.Change.(*write)
		if !ok {
			continue
		}
		if w.after != nil {
			w.after()
		}
		for i := range w.outcomes {
			s.settled(&w.outcomes[i])
		}
	}
	more := t.appended || t.wake || s.order.HasTurns()
	s.publish()
	wake := s.wake
	s.mu.Unlock()
	if more && wake != nil {
		wake()
	}
}

// learn takes over the ledger of transaction id, unless memory has a newer one. s.mu is held.
func (s *Store) learn(id uint64, t *txn) {
	for _, a := range t.retried {
		s.retries.add(a)
	}
	if t.cleared {
		s.pause = time.Time{}
	}
	if t.pause.After(s.pause) { // an application's transaction has none, so these come in order
		s.pause = t.pause
	}
	if id < s.txid && !s.file.Own() { // ours commits in order, and counts from 1 once compacted
		return
	}
	s.learnOldest(t)
	s.txid, s.ledger, s.longest = id, t.Ledger, max(s.longest, t.Longest)
}

// snapshot holds the latest counts. mu guards latest, is a leaf, and is held only for a copy. An
// atomic pointer would make garbage at each claim.
type snapshot struct {
	mu     sync.Mutex
	latest sender.Counts
}

func (s *snapshot) load() sender.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

func (s *snapshot) store(c sender.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = c
}
