package sender

import (
	"slices"
	"time"
)

// limitKept is how long a learnt limit holds before a larger request is tried again. A limit that
// is still there then costs one refused request an hour.
const limitKept = time.Hour

// maxParts bounds the memory of a learning. What is forgotten may be learnt later.
const maxParts = 4096

// A learning finds out that the destination takes fewer items in a request than the transport says.
// Only the loop uses it. A restart forgets it.
//
// A batch is refused as a whole because it is too large, or because one item spoils it. In the
// second case one of its parts is refused too, and so on down to that item. So when all parts of a
// refused batch are accepted, the batch was too large, and their size is the limit from then on. It
// is not raised step by step: a limit of 100 may be learnt as 62. After an hour the double is
// tried. That two items were refused together teaches nothing: a limit of 1 would be no batches at
// all.
type learning struct {
	limit int               // items in a request; 0: nothing is learnt
	at    time.Time         // when it was learnt, or last raised
	parts map[uint64]*parts // by the Seq of the first item of a part
}

// parts are the two or three parts of a refused batch.
type parts struct {
	size int // of the largest
	left int // how many have not been accepted
}

// max returns how many items a request may carry now; most is what the transport says.
func (n *learning) max(now time.Time, most int) int {
	if n.limit > 0 && now.Sub(n.at) >= limitKept {
		n.at = now
		n.limit *= 2
	}
	if n.limit == 0 || n.limit >= most {
		n.limit = 0
		return most
	}
	return n.limit
}

// refused takes in that a batch was refused as a whole, and returns its parts, which go next.
func (n *learning) refused(batch []Item) [][]Item {
	list := slices.Collect(slices.Chunk(batch, len(batch)/2))
	if n.parts == nil || len(n.parts) >= maxParts {
		n.parts = make(map[uint64]*parts)
	}
	ps := &parts{size: len(batch) / 2, left: len(list)}
	for _, p := range list {
		n.parts[p[0].Seq] = ps
	}
	return list
}

// accepted takes in that a part of a refused batch was not refused as a whole. It reports whether
// this has taught a limit.
func (n *learning) accepted(part []Item, now time.Time) (learnt bool) {
	ps := n.parts[part[0].Seq]
	if ps == nil {
		return false
	}
	delete(n.parts, part[0].Seq)
	if ps.left--; ps.left > 0 || ps.size < 2 || n.limit > 0 && n.limit < ps.size {
		return false
	}
	n.limit, n.at = ps.size, now
	return true
}
