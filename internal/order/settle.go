package order

import "iter"

// MarkSettling notes that an outcome of the item claimed at p is on its way into a commit. It is
// awaited when another item waits for the key, so that the commit should not be delayed. mayBeSent
// reports whether the item may lie in dead by now, so that releasing it takes a commit too. Both
// are false if the item is not in flight: the outcome is a repetition.
func (o *Order) MarkSettling(p Place, to Result) (awaited, mayBeSent bool) {
	f := o.flight(p)
	if f == nil {
		return false, false
	}
	f.settling = to != Sending
	f.mayBeSent = f.mayBeSent || to == Sending
	return len(o.taken[f.key].waiting) > 0, f.mayBeSent
}

// Settled tells what has become of the item claimed at p. Call it when this is durable, and for a
// Released item that needs no commit at once. Of several released items, settle the one that is to
// be first as the last. A repetition changes nothing.
//
// found reports whether the item lies where the result puts it: in later, or, as Sending, in dead.
// Otherwise its owner has deleted it, and its key goes to the next. It does not matter for Gone,
// and for an item released into ready, which is looked for when it has its turn.
//
// Settled returns true if the cursor has yet to come to the item, which happens after a Rebuild
// only. What the caller has read of ready ahead of the cursor is then out of date.
func (o *Order) Settled(p Place, what Result, found bool) (ahead bool) {
	f := o.flight(p)
	if f == nil {
		return false
	}
	ahead = p.Due == 0 && p.Seq > o.cursor
	if what == Sending {
		o.moved(f, found)
		return ahead
	}
	o.settleFlight(p.Seq, f)
	switch {
	case what == Released && ahead:
		delete(o.taken, f.key) // no one waits: the cursor meets this one first
	case what == Released && p.Due == 0:
		o.front = append(o.front, turn{p.Seq, f.key})
	case what != Gone && found: // it lies in later and keeps its key
	default:
		o.nextOfKey(f.key)
	}
	return ahead
}

// Withdraw takes back that an item was handed out, because its claim failed, and makes the Order
// stale. It does nothing else for an item that is not in flight.
func (o *Order) Withdraw(seq uint64) {
	if f := o.flights[seq]; f != nil {
		o.settleFlight(seq, f)
	}
	o.rebuilt = false
}

// Dropped tells that the owner of an item has deleted it, durably. p is where it lay; for dead, as
// for ready, only Seq counts. If it is in flight it stays so: its outcome will find nothing. If it
// lay in later, its key goes to the next.
func (o *Order) Dropped(p Place) {
	if f := o.flights[p.Seq]; f != nil {
		o.moved(f, false)
	} else if p.Due != 0 && o.taken[p.Key].head == p.Seq {
		// Otherwise a claim has seen the commit before us, and the key has another head.
		o.nextOfKey(p.Key)
	}
}

// InFlight reports whether the item is in flight, wherever it was claimed.
func (o *Order) InFlight(seq uint64) bool { return o.flights[seq] != nil }

// Holds reports whether the item is in flight and was claimed at p.
func (o *Order) Holds(p Place) bool { return o.flight(p) != nil }

// Taken reports whether an item of that key would have to wait. It is false for key 0.
func (o *Order) Taken(key uint64) bool {
	_, taken := o.taken[key]
	return taken
}

// HasTurns reports whether an item of ready has its turn. It may have been deleted.
func (o *Order) HasTurns() bool { return len(o.turns)+len(o.front) > 0 }

// Cursor returns the highest Seq of ready that was met; 0: none, or the Order is stale. An item
// beyond it may be free to go.
func (o *Order) Cursor() uint64 {
	if !o.rebuilt {
		return 0
	}
	return o.cursor
}

// Unsent reports whether an item up to mark is in flight or has its turn. An item of ready beyond
// the cursor, or of later, may be unsent too: the caller looks there itself.
func (o *Order) Unsent(mark uint64) bool {
	for seq := range o.flights {
		if seq <= mark {
			return true
		}
	}
	for _, turns := range [...][]turn{o.front, o.turns} {
		for _, t := range turns {
			if t.seq <= mark {
				return true
			}
		}
	}
	return false
}

// Sent reports whether an item up to mark is in flight and lies in dead.
func (o *Order) Sent(mark uint64) bool {
	for seq, f := range o.flights {
		if f.sent && seq <= mark {
			return true
		}
	}
	return false
}

// Counts are numbers of items. Items that their owner has deleted count until they are settled, or
// their turn comes.
type Counts struct {
	InLine   int // wait for an item of their key
	InFlight int
	Later    int // of those in flight, the ones that lie in later
	Sent     int // of those in flight, the ones that lie in dead
}

// Counts returns the present numbers, without looking at any item.
func (o *Order) Counts() Counts {
	return Counts{InLine: o.inLine, InFlight: len(o.flights), Later: o.later, Sent: o.sent}
}

// NextTurns returns the Seqs of the first n items that have their turn, in the order in which they
// go.
func (o *Order) NextTurns(n int) (seqs []uint64) {
	for i := len(o.front) - 1; i >= 0 && len(seqs) < n; i-- {
		seqs = append(seqs, o.front[i].seq)
	}
	for i := 0; i < len(o.turns) && len(seqs) < n; i++ {
		seqs = append(seqs, o.turns[i].seq)
	}
	return seqs
}

// Flights lists the items in flight, and whether each lies in dead.
func (o *Order) Flights() iter.Seq2[uint64, bool] {
	return func(yield func(seq uint64, sent bool) bool) {
		for seq, f := range o.flights {
			if !yield(seq, f.sent) {
				return
			}
		}
	}
}
