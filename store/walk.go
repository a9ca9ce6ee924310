package store

import (
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// maxWaiting is how many items may wait in memory behind taken keys before the walk pauses; tests lower it.
var maxWaiting = 1 << 20

// walk is what memory knows of a lane beyond its buckets: who is in flight, which keys are taken, who
// waits behind them. All of it follows from the file and from what is in flight.
//
// A key is taken while one of its items, its head, is in flight, has its turn, or lies in later. Claim
// walks ready from a cursor; an item of a taken key joins those who wait, any other takes its key.
type walk struct {
	stale   bool               // to be rebuilt before the next claim
	cursor  uint64             // highest Seq of ready already met
	flights map[uint64]*flight // by Seq
	taken   map[uint64]line    // by hash of the key, which is not 0
	turns   []turn             // items of ready, behind the cursor, whose turn it is
	front   []turn             // the same, and before turns: released ones, the first last
	next    source             // whose turn it is among the sources
	near    []near             // read ahead of the cursor
	nearby  []near             // the memory of near
	known   bool               // nothing has changed in timed and later since until was read
	until   time.Time          // when the first of them is due; zero: there is none
	spare   []*flight          // to be used again

	waiting      int // in all lines
	flightsLater int // of flights, those that lie in later
	sent         int // of flights, those that lie in dead
}

type flight struct {
	hash     uint64
	due      int64 // its place in later; 0: in ready
	settling bool  // its outcome waits for company

	announced bool // Sending was asked for: it may lie in dead, and to release it takes a commit
	sent      bool // it lies in dead, as Sending
}

type line struct {
	head    uint64
	waiting []uint64 // in order of Seq
}

type turn struct{ seq, hash uint64 }

const maxSpare = 1024

// The sources of a claim take turns, so that none starves another.
type source int

const (
	fromTurns source = iota
	fromLater
	fromReady
	sources
)

// flight returns the flight that an outcome is about; nil: there is none, and o is a repetition.
func (w *walk) flight(o *settling) *flight {
	if f := w.flights[o.Item.Seq]; f != nil && f.due == o.due {
		return f
	}
	return nil
}

// announce notes that o may put its item into dead as Sending.
func (w *walk) announce(o *settling) {
	if f := w.flight(o); f != nil && o.Verdict == sender.Sending {
		f.announced = true
	}
}

// announced reports whether the item of o may lie in dead as Sending.
func (w *walk) announced(o *settling) bool {
	f := w.flight(o)
	return f != nil && f.announced
}

// awaited reports whether somebody waits for the key of o, and notes that o is on its way.
func (w *walk) awaited(o *settling) bool {
	if f := w.flight(o); f != nil {
		f.settling = o.Verdict != sender.Sending
	}
	return len(w.taken[o.hash].waiting) > 0
}

func (w *walk) hasTurns() bool { return len(w.turns)+len(w.front) > 0 }

// fly notes that an item is in flight, as the head of its key. due is its place in later; 0: in ready.
func (w *walk) fly(seq, hash uint64, due int64) {
	var f *flight
	if n := len(w.spare); n > 0 {
		f, w.spare = w.spare[n-1], w.spare[:n-1]
		*f = flight{hash: hash, due: due}
	} else {
		f = &flight{hash: hash, due: due}
	}
	w.lift(seq, f)
}

// lift is fly for a flight that is known.
func (w *walk) lift(seq uint64, f *flight) {
	w.flights[seq] = f
	w.count(f, 1)
	w.take(f.hash, seq)
}

// take has the item seq be the head of its key, if it has one that is not taken.
func (w *walk) take(hash, seq uint64) {
	if _, taken := w.taken[hash]; hash != 0 && !taken {
		w.taken[hash] = line{head: seq}
	}
}

func (w *walk) land(seq uint64) {
	if f := w.flights[seq]; f != nil {
		w.count(f, -1)
		delete(w.flights, seq)
		if len(w.spare) < maxSpare {
			w.spare = append(w.spare, f)
		}
	}
}

// count adds n to what is known of the places of flights.
func (w *walk) count(f *flight, n int) {
	switch {
	case f.sent:
		w.sent += n
	case f.due != 0:
		w.flightsLater += n
	}
}

// moved notes whether a flight lies in dead now.
func (w *walk) moved(f *flight, sent bool) {
	w.count(f, -1)
	f.sent = sent
	w.count(f, 1)
}

// pass gives the turn of a key, whose head is gone, to whoever waits first.
func (w *walk) pass(hash uint64) {
	l, taken := w.taken[hash]
	switch {
	case !taken:
	case len(l.waiting) == 0:
		delete(w.taken, hash)
	default:
		l.head, l.waiting = l.waiting[0], l.waiting[1:]
		w.taken[hash] = l
		w.waiting--
		w.turns = append(w.turns, turn{l.head, hash})
	}
}

// settled brings the walk up to date with an outcome that is durable.
func (w *walk) settled(o *settling) {
	seq := o.Item.Seq
	f := w.flight(o)
	if f == nil {
		return // a repetition; what was claimed since is another flight
	}
	w.known = false // it may lie in later, and be free to be claimed again
	if o.Verdict == sender.Sending {
		w.moved(f, o.found)
		return
	}
	w.land(seq)
	head := o.hash != 0 && w.taken[o.hash].head == seq
	switch {
	case o.Verdict == sender.Released && o.due == 0:
		// After a rebuild the cursor meets it again by itself, if what was read ahead did not leave it out.
		if seq > w.cursor {
			w.forgetNear()
		}
		if seq <= w.cursor && (o.hash == 0 || head) {
			w.front = append(w.front, turn{seq, o.hash})
		} else if head {
			delete(w.taken, o.hash)
		}
	case (o.Verdict == sender.Released || o.Verdict == sender.Retry) && o.found:
		// It lies in later and keeps its key.
	case head:
		w.pass(o.hash)
	}
}

// rebuild works the walk out again from what is in flight and from the keys in later.
func (w *walk) rebuild(later *bolt.Bucket) {
	flights, next := w.flights, w.next
	*w = walk{flights: make(map[uint64]*flight), taken: make(map[uint64]line), next: next}
	for seq, f := range flights {
		w.lift(seq, f)
	}
	c := later.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) == 24 {
			w.take(format.Key(k).Hash(), format.Key(k).Seq())
		}
	}
}

func (w *walk) turn() (turn, bool) {
	if n := len(w.front); n > 0 {
		return w.front[n-1], true
	}
	if len(w.turns) > 0 {
		return w.turns[0], true
	}
	return turn{}, false
}

func (w *walk) popTurn() {
	if n := len(w.front); n > 0 {
		w.front = w.front[:n-1]
		return
	}
	w.turns = w.turns[1:]
}
