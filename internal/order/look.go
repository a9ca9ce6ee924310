package order

import "slices"

// What people are shown of the Order. None of it changes anything, and all of it is what memory
// knows: while the Order is stale it is as it was before.

// Seen returns the highest Seq of ready that the cursor reached, also while the Order is stale; 0:
// none. No item beyond it waits in a line.
func (o *Order) Seen() uint64 { return o.cursor }

// Waits reports whether the item of ready at p waits in the line of its key.
func (o *Order) Waits(p Place) bool {
	_, waits := slices.BinarySearch(o.taken[p.Key].waiting, p.Seq)
	return waits
}

// Line returns the head of the line in which the item of ready at p waits, and how many go before
// it in that line, the head included. It is the line that the item will join, if the cursor has yet
// to come to it: others may join before. ok is false if the item does not wait, as far as is known.
func (o *Order) Line(p Place) (head uint64, before int, ok bool) {
	l, taken := o.taken[p.Key]
	if !taken || l.head == p.Seq {
		return 0, 0, false
	}
	i, waits := slices.BinarySearch(l.waiting, p.Seq)
	return l.head, i + 1, waits || p.Seq > o.cursor
}

// Turn returns how many items have their turn before this one; ok is false if it has not its turn.
// An item that its owner has deleted counts until it is noticed.
func (o *Order) Turn(seq uint64) (before int, ok bool) {
	for i := len(o.front) - 1; i >= 0; i-- {
		if o.front[i].seq == seq {
			return before, true
		}
		before++
	}
	for _, t := range o.turns {
		if t.seq == seq {
			return before, true
		}
		before++
	}
	return before, false
}

// Flight returns where an item in flight was claimed, and whether it lies in dead now; ok is false
// if it is not in flight.
func (o *Order) Flight(seq uint64) (p Place, sent, ok bool) {
	f := o.flights[seq]
	if f == nil {
		return Place{}, false, false
	}
	return Place{Seq: seq, Due: f.due, Key: f.key}, f.sent, true
}
