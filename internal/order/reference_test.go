package order

import (
	"fmt"
	"slices"
)

// free returns the items that may go now, by the rule and nothing else: of each key the earliest item
// that is neither settled nor waiting for a time of its own, if none of that key is in flight, and it is
// due. Of those without a key, each.
func (w *world) free() (free []rec) {
	unsettled := slices.Concat(w.d.ready, w.d.later)
	slices.SortFunc(unsettled, func(a, b rec) int { return int(a.seq) - int(b.seq) })
	for i, r := range unsettled {
		first := !slices.ContainsFunc(unsettled[:i], func(q rec) bool { return q.key == r.key && r.key != 0 })
		busy := slices.ContainsFunc(w.held, func(h held) bool {
			return h.at.Seq == r.seq || h.at.Key == r.key && r.key != 0
		})
		if first && !busy && r.due <= w.now {
			free = append(free, r)
		}
	}
	return free
}

// mayBeHandedOut asks the rule.
func (w *world) mayBeHandedOut(p Place, src Source) error {
	if (src == Later) != (p.Due != 0) {
		return fmt.Errorf("%v is said to come from source %d", p, src)
	}
	for _, h := range w.held {
		if h.at.Seq == p.Seq {
			return fmt.Errorf("seq%d is handed out twice", p.Seq)
		}
		if h.at.Key == p.Key && p.Key != 0 {
			return fmt.Errorf("seq%d is handed out while seq%d of key %d is in flight", p.Seq, h.at.Seq, p.Key)
		}
	}
	if w.gone[p.Seq] {
		return nil // its owner has dropped it this moment, and it may yet arrive
	}
	for _, r := range w.free() {
		if r.seq == p.Seq && r.due == p.Due && r.key == p.Key {
			return nil
		}
	}
	return fmt.Errorf("seq%d of key %d, due %d, is handed out before its turn, or from where it does not lie", p.Seq, p.Key, p.Due)
}

// complete asks it whether a claim that found nothing more is right. What a pause of the cursor holds back
// is found by drain.
func (w *world) complete() error {
	if free := w.free(); len(free) > 0 && len(w.untold) == 0 && w.o.inLine < w.o.maxWaiting() {
		return fmt.Errorf("stuck: seq%d of key %d could go", free[0].seq, free[0].key)
	}
	return nil
}

// check looks at what is true at any moment.
func (w *world) check() error {
	d := &w.d
	pending := len(d.ready) + len(d.timed) + len(d.later)
	if d.put != pending+len(d.dead)+d.delivered+d.expired+d.dropped || len(d.dead) != d.died {
		return fmt.Errorf("lost: put %d, pending %d, dead %d, delivered %d, expired %d, dropped %d",
			d.put, pending, len(d.dead), d.delivered, d.expired, d.dropped)
	}
	for i, b := range d.buckets() {
		for _, c := range d.buckets()[i+1:] {
			for _, r := range *b {
				if slices.ContainsFunc(*c, func(s rec) bool { return s.id == r.id }) {
					return fmt.Errorf("id%d lies in two places", r.id)
				}
			}
		}
	}
	for _, r := range d.dead {
		if r.sending && !slices.ContainsFunc(w.held, func(h held) bool { return h.at.Seq == r.seq }) {
			return fmt.Errorf("seq%d was released, and is still dead", r.seq)
		}
	}
	o := &w.o
	var want Counts
	for _, h := range w.held {
		f := o.flight(h.at)
		if f == nil || f.key != h.at.Key {
			return fmt.Errorf("seq%d is in flight, and the order does not know", h.at.Seq)
		}
		want.InFlight++
		switch i, inDead := find(d.dead, Place{Seq: h.at.Seq}); {
		case len(w.untold) > 0: // the order and the disk may differ
			want.Later, want.Sent = o.later, o.sent
		case inDead && d.dead[i].sending:
			want.Sent++
		case h.at.Due != 0:
			want.Later++
		}
	}
	for _, l := range o.taken {
		if want.InLine += len(l.waiting); !slices.IsSorted(l.waiting) {
			return fmt.Errorf("a line is out of order: %v", l.waiting)
		}
	}
	if got := o.Counts(); got != want && !o.Stale() {
		return fmt.Errorf("counts are %+v, want %+v", got, want)
	}
	return nil
}

// drain delivers everything, without faults, and then nothing may be left in memory.
func (w *world) drain() error {
	w.say("-- drain --")
	for range 100 {
		w.tell()
		if w.kept != nil {
			w.settle(fine, w.kept...)
		}
		if err := w.claim(3, false); err != nil {
			return err
		}
		var os []outcome
		for _, h := range w.held {
			os = append(os, outcome{rec: h.rec, at: h.at})
		}
		if len(os) > 0 {
			w.settle(fine, os...)
		}
		if err := w.check(); err != nil {
			return err
		}
		if len(w.d.ready)+len(w.d.timed)+len(w.d.later)+len(w.held) == 0 {
			return w.empty()
		}
		w.now++
	}
	return fmt.Errorf("starved: what is left is %+v", w.d)
}

func (w *world) empty() error {
	if err := w.claim(1, false); err != nil { // meets the items that were dropped
		return err
	}
	if o := &w.o; o.Counts() != (Counts{}) || len(o.taken) > 0 || o.HasTurns() {
		return fmt.Errorf("memory keeps %+v, keys %v, turns %v %v", o.Counts(), o.taken, o.front, o.turns)
	}
	return nil
}
