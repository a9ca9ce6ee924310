package order

import (
	"cmp"
	"fmt"
	"slices"
)

// rec is an item as the disk holds it.
type rec struct {
	id      int // the same wherever it moves
	seq     uint64
	key     uint64
	due     int64 // of timed and later
	expires int64 // 0: never
	sending bool  // in dead: its request was running
}

// disk is what a crash leaves.
type disk struct {
	ready, timed, later, dead              []rec // in order of Due, then of Seq; ready and dead have no Due
	seq                                    uint64
	put, delivered, expired, died, dropped int
}

func (d *disk) clone() disk {
	c := *d
	c.ready, c.timed, c.later, c.dead = slices.Clone(d.ready), slices.Clone(d.timed), slices.Clone(d.later), slices.Clone(d.dead)
	return c
}

func compare(a, b rec) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) }

func insert(b *[]rec, r rec) {
	i, _ := slices.BinarySearchFunc(*b, r, compare)
	*b = slices.Insert(*b, i, r)
}

// find looks for an item where Place p says it lies.
func find(b []rec, p Place) (int, bool) {
	return slices.BinarySearchFunc(b, rec{seq: p.Seq, due: p.Due}, compare)
}

func (d *disk) buckets() []*[]rec { return []*[]rec{&d.ready, &d.timed, &d.later, &d.dead} }

// fault is what happens to a commit.
type fault int

const (
	fine    fault = iota
	late          // it is durable, and the Order learns of it only before the next commit
	failed        // nothing is stored, and the caller knows that
	lost          // its outcome is unknown: nothing was stored
	durable       // its outcome is unknown: it is stored
	faults
)

var faultNames = [...]string{"", " (told late)", " (fails)", " (unknown, lost)", " (unknown, durable)"}

type verdict int

const (
	delivered verdict = iota
	retry
	dead
	expired
	released
	sending
)

var verdictNames = [...]string{"delivered", "retry", "dead", "expired", "released", "sending"}

func (v verdict) result() Result {
	switch v {
	case retry:
		return Retry
	case released:
		return Released
	case sending:
		return Sending
	}
	return Gone
}

// held is an item in flight, as its sender sees it.
type held struct {
	rec
	at       Place
	settling bool // an outcome is under way, or kept to be tried again
	sent     bool // Sending was told
}

type outcome struct {
	rec
	at    Place
	v     verdict
	due   int64
	found bool
}

// world is a lane in memory with its sender, driven by an Order.
type world struct {
	d       disk
	o       Order
	now     int64
	ids     int
	held    []held
	kept    []outcome       // their settle failed, or its outcome is unknown
	last    []outcome       // told last; a caller that did not hear of it repeats them
	untold  []func()        // of durable commits
	gone    map[uint64]bool // dropped, and not told yet
	fetched []rec           // read ahead of the cursor
	open    bool            // the file may be read
	memory  bool            // the next claim begins without the file
	steps   int             // of a Round
	ahead   int             // how many fetched holds
	logging bool
	log     []string
}

func newWorld(steps, ahead, maxWaiting int) *world {
	return &world{o: Order{MaxWaiting: maxWaiting}, now: 1, steps: steps, ahead: ahead, gone: map[uint64]bool{}}
}

func (w *world) say(format string, a ...any) {
	if !w.logging {
		return
	}
	w.log = append(w.log, fmt.Sprintf("t%d %s", w.now, fmt.Sprintf(format, a...)))
}

// tell brings the Order up to date with the commits that are durable.
func (w *world) tell() {
	for _, fn := range w.untold {
		fn()
	}
	w.untold = nil
}

// commit makes a change of the disk, and tells the Order once it is durable. It is false if the caller
// does not know that it is.
func (w *world) commit(f fault, apply func(*disk), tell func()) bool {
	w.tell()
	if f == failed {
		return false
	}
	if f != lost {
		d := w.d.clone()
		apply(&d)
		w.d = d
	}
	switch f {
	case lost, durable:
		w.o.Invalidate(func(seq uint64) bool {
			i, ok := find(w.d.dead, Place{Seq: seq})
			return ok && w.d.dead[i].sending
		})
		return false
	case late:
		w.untold = append(w.untold, tell)
	default:
		tell()
	}
	return true
}

func (w *world) put(key uint64, due, expires int64, f fault) {
	w.ids++
	w.say("put id%d of key %d, due %d, expires %d%s", w.ids, key, due, expires, faultNames[f])
	w.commit(f, func(d *disk) {
		d.put++
		d.seq++
		r := rec{id: w.ids, seq: d.seq, key: key, due: due, expires: expires}
		if due > w.now {
			insert(&d.timed, r)
		} else {
			r.due = 0
			insert(&d.ready, r)
		}
	}, func() {})
}

// promote moves items whose time has come to the end of ready.
func (w *world) promote() {
	if len(w.d.timed) == 0 || w.d.timed[0].due > w.now {
		return
	}
	w.commit(fine, func(d *disk) {
		for len(d.timed) > 0 && d.timed[0].due <= w.now {
			r := d.timed[0]
			d.timed = slices.Delete(d.timed, 0, 1)
			d.seq++
			r.seq, r.due = d.seq, 0
			insert(&d.ready, r)
		}
	}, func() {})
}

func (w *world) settle(f fault, os ...outcome) {
	unsure := false
	for i := range os {
		w.say("settle seq%d of key %d: %s, due %d%s", os[i].at.Seq, os[i].at.Key, verdictNames[os[i].v], os[i].due, faultNames[f])
		_, mayBeSent := w.o.MarkSettling(os[i].at, os[i].v.result())
		unsure = unsure || mayBeSent || os[i].v != released
		for j := range w.held {
			if w.held[j].at == os[i].at {
				w.held[j].settling = true
			}
		}
	}
	if !unsure { // no commit
		for i := range os {
			_, os[i].found = find(w.d.later, os[i].at)
		}
		w.settled(os)
		w.kept = nil
	} else if w.commit(f, func(d *disk) {
		for i := range os {
			w.apply(d, &os[i])
		}
	}, func() { w.settled(os) }) {
		w.kept = nil
	} else {
		w.kept = os
	}
}

// apply makes the transition of one outcome, if its item lies where it was claimed, or in dead because it
// is being sent.
func (w *world) apply(d *disk, o *outcome) {
	from := &d.ready
	if o.at.Due != 0 {
		from = &d.later
	}
	i, ok := find(*from, o.at)
	if !ok {
		from = &d.dead
		i, ok = find(d.dead, Place{Seq: o.at.Seq})
		ok = ok && d.dead[i].sending && w.o.Holds(o.at)
	}
	if o.found = ok; !ok {
		if o.v == retry {
			_, o.found = find(d.later, Place{Seq: o.at.Seq, Due: o.due})
		}
		return
	}
	if o.v == sending && !w.o.Holds(o.at) {
		o.found = false
		return
	}
	r := (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	if from == &d.dead {
		d.died--
	}
	r.sending, r.due = false, 0
	switch o.v {
	case delivered:
		d.delivered++
	case expired:
		d.expired++
	case retry:
		r.due = o.due
		insert(&d.later, r)
	case released:
		if r.due = o.at.Due; r.due != 0 {
			insert(&d.later, r)
		} else {
			insert(&d.ready, r)
		}
	case dead, sending:
		d.died++
		r.sending = o.v == sending
		insert(&d.dead, r)
	}
}

// settled tells the Order of outcomes that are durable: the released ones go to the front, the first
// of them last.
func (w *world) settled(os []outcome) {
	for _, o := range slices.Backward(os) {
		if w.o.Settled(o.at, o.v.result(), o.found) {
			w.fetched = nil
		}
		i := slices.IndexFunc(w.held, func(h held) bool { return h.at == o.at })
		switch {
		case i < 0:
		case o.v == sending:
			w.held[i].settling, w.held[i].sent = false, true
		default:
			w.held = slices.Delete(w.held, i, i+1)
		}
	}
	w.last = os
}

func (w *world) drop(b *[]rec, i int, f fault) {
	r := (*b)[i]
	w.say("drop seq%d of key %d, due %d%s", r.seq, r.key, r.due, faultNames[f])
	bucket := slices.Index(w.d.buckets(), b)
	if w.commit(f, func(d *disk) {
		b := d.buckets()[bucket]
		if i, ok := find(*b, Place{Seq: r.seq, Due: r.due}); ok {
			*b = slices.Delete(*b, i, i+1)
			d.dropped++
			if bucket == 3 {
				d.died--
			}
		}
	}, func() {
		w.fetched = nil
		w.o.Dropped(Place{Seq: r.seq, Due: r.due, Key: r.key})
		delete(w.gone, r.seq)
	}) && f == late {
		w.gone[r.seq] = true
	}
}

// revive gives a dead item a new place at the end of ready.
func (w *world) revive(i int, f fault) {
	r := w.d.dead[i]
	w.say("revive seq%d of key %d%s", r.seq, r.key, faultNames[f])
	w.commit(f, func(d *disk) {
		i, ok := find(d.dead, Place{Seq: r.seq})
		if !ok || w.o.InFlight(r.seq) {
			return
		}
		d.dead = slices.Delete(d.dead, i, i+1)
		d.died--
		d.seq++
		r.seq, r.sending = d.seq, false
		insert(&d.ready, r)
	}, func() {})
}

func (w *world) crash() {
	w.say("crash")
	w.o = Order{MaxWaiting: w.o.MaxWaiting}
	w.held, w.kept, w.last, w.untold, w.fetched = nil, nil, nil, nil, nil
	clear(w.gone)
	for i := range w.d.dead {
		w.d.dead[i].sending = false // it is as dead as others
	}
}

// Ready, Due and Fresh make a world the Records of its Rounds.
func (w *world) Ready(seq uint64) (there, ok bool) {
	if !w.open {
		return false, false
	}
	_, there = find(w.d.ready, Place{Seq: seq})
	return there, true
}

func (w *world) Due(after Place) (Place, bool) {
	i, found := find(w.d.later, after)
	if found {
		i++
	}
	if !w.open || i == len(w.d.later) || w.d.later[i].due > w.now {
		return Place{}, false
	}
	r := w.d.later[i]
	return Place{Seq: r.seq, Due: r.due, Key: r.key}, true
}

func (w *world) Fresh(after uint64) (Place, bool) {
	for len(w.fetched) > 0 && w.fetched[0].seq <= after {
		w.fetched = w.fetched[1:]
	}
	if len(w.fetched) == 0 && w.open {
		i, _ := find(w.d.ready, Place{Seq: after + 1})
		w.fetched = slices.Clone(w.d.ready[i:min(i+w.ahead, len(w.d.ready))])
	}
	if len(w.fetched) == 0 {
		return Place{}, false
	}
	return Place{Seq: w.fetched[0].seq, Key: w.fetched[0].key}, true
}

// claim hands out up to n items. With fails, the claim fails in the end, and takes them back.
func (w *world) claim(n int, fails bool) error {
	w.promote()
	w.open = !w.memory
	if w.o.Stale() {
		w.open, w.fetched = true, nil
		w.o.Rebuild(func(yield func(Place) bool) {
			for _, r := range w.d.later {
				if !yield(Place{Seq: r.seq, Due: r.due, Key: r.key}) {
					return
				}
			}
		})
	}
	had, rounds := len(w.held), 0
	for r := w.o.Begin(w, w.steps); len(w.held) < had+n; {
		p, src, ok := r.Next()
		switch {
		case ok:
		case r.Spent():
			if rounds++; rounds > 1000 {
				return fmt.Errorf("starved: a thousand rounds found nothing")
			}
			r = w.o.Begin(w, w.steps)
			continue
		case !w.open:
			w.open = true
			r.Resume()
			continue
		default:
			return w.complete()
		}
		if q, again, ok := r.Next(); q != p || again != src || !ok {
			return fmt.Errorf("Next found %v, and then %v without a Take between them", p, q)
		}
		if err := w.mayBeHandedOut(p, src); err != nil {
			return err
		}
		r.Take()
		i, _ := find(w.d.later, p)
		rec := rec{seq: p.Seq, key: p.Key}
		if p.Due != 0 {
			rec = w.d.later[i]
		} else if i, ok := find(w.d.ready, p); ok {
			rec = w.d.ready[i]
		}
		w.held = append(w.held, held{rec: rec, at: p})
		w.say("claimed seq%d of key %d, due %d", p.Seq, p.Key, p.Due)
	}
	if fails {
		w.say("withdrawn")
		for _, h := range w.held[had:] {
			w.o.Withdraw(h.at.Seq)
		}
		w.held = w.held[:had]
	}
	return nil
}
