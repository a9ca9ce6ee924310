package order

import "slices"

// What people are shown of the Order. None of it changes anything, and all of it is what memory
// knows: while the Order is stale it is as it was before.

// Met returns the highest Seq of ready that was met, also while the Order is stale; 0: none. No item
// beyond it waits in a line.
func (o *Order) Met() uint64 { return o.cursor }

// Waits reports whether the item of ready at p waits in the line of its key.
func (o *Order) Waits(p Place) bool {
	_, waits := slices.BinarySearch(o.taken[p.Key].waiting, p.Seq)
	return waits
}

// Flight returns where an item in flight was claimed, and whether it lies in dead now; ok is false if
// it is not in flight.
func (o *Order) Flight(seq uint64) (p Place, sent, ok bool) {
	f := o.flights[seq]
	if f == nil {
		return Place{}, false, false
	}
	return Place{Seq: seq, Due: f.due, Key: f.key}, f.sent, true
}
