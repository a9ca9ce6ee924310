package order

// A Source is where a Round finds an item. The sources take turns, so that none starves another.
type Source int

const (
	Turns Source = iota // an item of ready, up to the cursor, whose turn it is
	Later               // a failed item that is due
	Ready               // the next item of ready beyond the cursor
	sources
)

// Records is the disk, as one Round reads it. Each method may find that it cannot tell now: it
// would need a file that is not open yet, or it has met damage that it cannot pass. Then it returns
// false and keeps the reason to itself. The Round goes on with the other sources.
//
// What the methods return must be true now. A store that reads ahead forgets what it has read when
// one of these items is deleted, or when [Order.Settled] says so.
type Records interface {
	// Ready reports whether ready still holds the item. ok is false if it cannot tell.
	Ready(seq uint64) (there, ok bool)
	// Due returns the first item of later that is due and comes behind after, by Due and then by
	// Seq. The zero Place is before them all. Items in flight need not be left out.
	Due(after Place) (Place, bool)
	// Fresh returns the first item of ready whose Seq is above after. Items in flight need not be
	// left out. Its place is enough: most items of a taken key are never handed out by this Round.
	Fresh(after uint64) (Place, bool)
}

// A Round is one claim: it finds item after item, looking at a limited number of them. The caller
// holds the lock from Next to Take, and may let it go elsewhere. The zero value is not usable.
type Round struct {
	order     *Order
	records   Records
	steps     int           // left
	exhausted [sources]bool // sources with nothing more for this Round
	later     Place         // the last that was met in later
	at        Place         // what Next has found
	source    Source        // where
	awaited   bool
}

// Begin starts a Round that looks at steps items at most. The Order must not be stale: a stale one
// hands out nothing.
func (o *Order) Begin(r Records, steps int) Round {
	return Round{order: o, records: r, steps: steps}
}

// Next finds the item that goes next, and leaves it where it is until Take; without Take it finds
// the same item again. It returns false if no source has one, if the steps are used up, or if the
// Order is stale.
func (r *Round) Next() (Place, Source, bool) {
	for r.order.rebuilt && !r.Spent() && r.exhausted != [sources]bool{true, true, true} {
		src := r.order.next
		if !r.exhausted[src] && r.seek(src) {
			r.source = src
			return r.at, src, true
		}
		if !r.Spent() {
			r.exhausted[src] = true
			r.order.rotate()
		}
	}
	return Place{}, 0, false
}

// Take hands out the item that Next has found: it is in flight, and the next source has its turn.
func (r *Round) Take() {
	switch r.source {
	case Turns:
		r.order.popTurn()
	case Ready:
		r.order.cursor = r.at.Seq
	}
	r.order.launch(r.at)
	r.order.rotate()
	r.steps--
}

// Resume has the sources asked again that had nothing, because the caller can tell more now. The
// steps count on.
func (r *Round) Resume() { r.exhausted = [sources]bool{} }

// Spent reports whether the steps are used up. There may be more to hand out then: begin another
// Round, after others had the lock.
func (r *Round) Spent() bool { return r.steps <= 0 }

// Awaited reports whether an item has joined a line whose head is on its way into a commit, see
// [Order.MarkSettling]. That commit should not be delayed any longer.
func (r *Round) Awaited() bool { return r.awaited }

func (o *Order) rotate() { o.next = (o.next + 1) % sources }

// seek puts the next item of a source that may go into r.at. It is false if there is none, or the
// steps are used up. Each item that is passed by is a step.
func (r *Round) seek(src Source) bool {
	o := r.order
	for ; r.steps > 0; r.steps-- {
		switch src {
		case Turns:
			t, ok := o.firstTurn()
			if !ok {
				return false
			}
			there, ok := r.records.Ready(t.seq)
			if there && ok {
				r.at = Place{Seq: t.seq, Key: t.key}
			}
			if there || !ok {
				return ok
			}
			o.popTurn()
			o.nextOfKey(t.key)
			r.exhausted[Ready] = false // a line is shorter now, if the cursor has stopped for that
		case Later:
			return r.seekLater()
		case Ready:
			if o.inLine >= o.maxWaiting() {
				return false
			}
			p, ok := r.records.Fresh(o.cursor)
			if !ok {
				return false
			}
			if r.at = p; !o.InFlight(p.Seq) && !r.join() {
				return true
			}
			o.cursor = p.Seq
		}
	}
	return false
}

// seekLater is seek for later. Items in flight are met again by each Round, and would use up its
// steps if they counted.
func (r *Round) seekLater() bool {
	for {
		p, ok := r.records.Due(r.later)
		if !ok {
			return false
		}
		// A disk on which two items of a key have failed is damaged. They go one at a time all the
		// same.
		if l, taken := r.order.taken[p.Key]; !r.order.InFlight(p.Seq) && (!taken || l.head == p.Seq) {
			r.at = p
			return true
		}
		r.later = p
	}
}

// join puts the item that was found in the line of its key, and reports whether that is taken.
func (r *Round) join() bool {
	o := r.order
	l, taken := o.taken[r.at.Key]
	if !taken {
		return false
	}
	l.waiting = append(l.waiting, r.at.Seq)
	o.taken[r.at.Key] = l
	o.inLine++
	if f := o.flights[l.head]; f != nil && f.settling {
		r.awaited = true
	}
	return true
}

func (o *Order) maxWaiting() int {
	if o.MaxWaiting > 0 {
		return o.MaxWaiting
	}
	return defaultMaxWaiting
}
