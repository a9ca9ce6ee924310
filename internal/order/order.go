// Package order decides which item goes next, so that the items of one key are sent one at a time
// and in the order of Seq. All of it is memory: it knows no database and no clock. A store feeds it
// with places, asks for the next one, and tells it what became of the item.
//
// A store keeps its items in these parts, whatever it calls them:
//
//   - ready: may be sent at any time, in the order of Seq.
//   - later: failed, waiting for the next try, in the order of Due.
//   - dead: given up. An item that must not be sent twice lies there while its request is running.
//
// Items whose time has not come are unknown here. When it comes they enter ready under a new Seq.
//
// The order costs nothing on disk: ready is not sorted by key and has no index. Claiming reads
// ready from a cursor and remembers the items that it cannot hand out yet, 8 bytes for each.
package order

import "iter"

// A Place is where an item lies, with its key.
type Place struct {
	Seq uint64 // its place in the order, above 0 and never given twice
	Due int64  // its place in later; 0: it lies in ready
	Key uint64 // hash of its key; 0: it has none, and waits for nobody
}

// A Result is what has become of an item in flight.
type Result int

const (
	Released Result = iota // it lies where it was claimed, and may be claimed again
	Retry                  // it failed, and lies in later
	Sending                // it lies in dead while its request is running, and stays in flight
	Gone                   // it needs no further try: delivered, expired, dead
)

// defaultMaxWaiting is the default of Order.MaxWaiting, at 8 bytes each.
const defaultMaxWaiting = 1 << 20

// maxSpare bounds the flights that are kept to be used again.
const maxSpare = 1024

// An Order is what memory knows of the items of one lane. The zero value knows nothing and is
// stale. It has no lock: its owner guards it, and each Round, with one of its own.
//
//   - A key is taken while one of its items, its head, is in flight, has its turn, or lies in
//     later.
//   - An item in flight is the head of its key, if it has one. So no two of a key are in flight.
//   - Each item of ready up to the cursor is in flight, has its turn, or waits in the line of its
//     key. One beyond the cursor is none of these, unless it was in flight at the last Rebuild.
//   - A line is in the order of Seq. It grows at its end when the cursor meets an item of a taken
//     key, and its first item has its turn when the head is gone.
//   - An item that has its turn is the head of its key, or has none, and lies in ready. If its
//     owner has deleted it, the next of the line takes its turn as soon as this is noticed.
//   - Memory changes only after the commit that changes the disk. A commit that failed changes
//     nothing here; after one whose outcome is unknown the Order is stale.
//   - All but the flights follows from the disk. A crash loses the Order and with it the flights:
//     the items are met again, in order, and items that were in flight are sent again.
type Order struct {
	// MaxWaiting is how many items may wait in lines before the cursor stops until some are gone;
	// 0: 1<<20.
	MaxWaiting int

	rebuilt bool               // all fields except flights are worked out; false: stale
	cursor  uint64             // highest Seq of ready that was met; 0: none
	flights map[uint64]*flight // by Seq
	taken   map[uint64]line    // by key, which is not 0
	turns   []turn             // of the first of lines, the oldest turn first
	front   []turn             // of released items, before turns; the last one goes first
	next    Source             // whose turn it is among the sources
	spare   []*flight          // to be used again

	inLine int // items in all lines
	later  int // flights whose item lies in later
	sent   int // flights whose item lies in dead
}

// A flight is an item that was handed out and has no outcome yet.
type flight struct {
	key       uint64
	due       int64 // where it was claimed: its place in later; 0: in ready
	settling  bool  // its outcome is on its way into a commit
	mayBeSent bool  // Sending is, or was, on its way: it may lie in dead
	sent      bool  // it lies in dead
}

// A line is a taken key.
type line struct {
	head    uint64
	waiting []uint64 // Seqs of ready, ascending
}

type turn struct{ seq, key uint64 }

// Stale reports whether the Order must be rebuilt before it hands out an item.
func (o *Order) Stale() bool { return !o.rebuilt }

// Invalidate makes the Order stale, because the disk may differ from what it knows: after a commit
// of unknown outcome, for instance. Until Rebuild nothing is handed out, and outcomes are taken as
// ever. sent tells of an item in flight whether it lies in dead now; nil: as before.
func (o *Order) Invalidate(sent func(seq uint64) bool) {
	o.rebuilt = false
	if sent == nil {
		return
	}
	for seq, f := range o.flights {
		o.moved(f, sent(seq))
	}
}

// Rebuild works the Order out again: from what is in flight, which stays so, and from later, all
// its items, in any order. The cursor starts again, and each source keeps its place in the
// rotation.
func (o *Order) Rebuild(later iter.Seq[Place]) {
	if o.flights == nil {
		o.flights = make(map[uint64]*flight)
	}
	o.taken = make(map[uint64]line)
	o.cursor, o.turns, o.front, o.inLine = 0, nil, nil, 0
	for seq, f := range o.flights {
		o.take(f.key, seq)
	}
	for p := range later {
		o.take(p.Key, p.Seq)
	}
	o.rebuilt = true
}

// launch notes that an item is in flight, as the head of its key.
func (o *Order) launch(p Place) {
	var f *flight
	if n := len(o.spare); n > 0 {
		f, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		f = new(flight)
	}
	*f = flight{key: p.Key, due: p.Due}
	o.flights[p.Seq] = f
	o.count(f, 1)
	o.take(p.Key, p.Seq)
}

// take makes an item the head of its key, if it has one and that is not taken.
func (o *Order) take(key, seq uint64) {
	if key != 0 && !o.Taken(key) {
		o.taken[key] = line{head: seq}
	}
}

// settleFlight notes that an item is not in flight any more. Its key stays taken.
func (o *Order) settleFlight(seq uint64, f *flight) {
	o.count(f, -1)
	delete(o.flights, seq)
	if len(o.spare) < maxSpare {
		o.spare = append(o.spare, f)
	}
}

// nextOfKey frees a key, whose head is gone, or gives its turn to the first of its line.
func (o *Order) nextOfKey(key uint64) {
	l, taken := o.taken[key]
	switch {
	case !taken:
	case len(l.waiting) == 0:
		delete(o.taken, key)
	default:
		l.head, l.waiting = l.waiting[0], l.waiting[1:]
		o.taken[key] = l
		o.inLine--
		o.turns = append(o.turns, turn{l.head, key})
	}
}

// flight returns the flight of an item that was claimed at p; nil: there is none. It was settled,
// or claimed elsewhere since.
func (o *Order) flight(p Place) *flight {
	if f := o.flights[p.Seq]; f != nil && f.due == p.Due {
		return f
	}
	return nil
}

// moved notes whether a flight lies in dead now.
func (o *Order) moved(f *flight, sent bool) {
	o.count(f, -1)
	f.sent = sent
	o.count(f, 1)
}

// count adds n to the count of the place in which a flight lies.
func (o *Order) count(f *flight, n int) {
	switch {
	case f.sent:
		o.sent += n
	case f.due != 0:
		o.later += n
	}
}

// firstTurn returns whose turn it is; false: nobody's.
func (o *Order) firstTurn() (turn, bool) {
	if n := len(o.front); n > 0 {
		return o.front[n-1], true
	}
	if len(o.turns) > 0 {
		return o.turns[0], true
	}
	return turn{}, false
}

// popTurn removes what firstTurn returns.
func (o *Order) popTurn() {
	if n := len(o.front); n > 0 {
		o.front = o.front[:n-1]
		return
	}
	o.turns = o.turns[1:]
}
