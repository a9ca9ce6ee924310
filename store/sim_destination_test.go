package store_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// moods are what a destination can be in. Poisoned items, by their kind, fail in any of them.
var moods = [...]string{"ok", "ok", "slow", "500", "403", "429", "429 for a time", "later", "permanent", "timeout", "panic", "hang", "odd", "mixed", "mixed"}

// longestDelay is how long a request is on its way to the destination at most.
const longestDelay = 50 * time.Millisecond

// A destination outlives the processes that send to it, and sees whether they keep the promises.
// Guarded by simulation.mu.
type destination struct {
	s        *simulation
	mood     string
	healed   bool          // there is no poison any more
	limit    int           // requests allowed in any window; 0: no limit
	window   time.Duration // of limit
	arrivals []time.Time
	orders   []*order
}

// An order is a Retry-After, as given to a lane.
type order struct {
	l         *lane
	at, until time.Time
	epoch     time.Duration // by how much the wall clock was off when the process that was told it began
	recorded  bool          // a commit that keeps it has returned
}

// recorded notes that the pause of a lane until then is on disk.
func (d *destination) recorded(l *lane, until time.Time) {
	for _, o := range d.orders {
		if o.l == l && !o.until.After(until) {
			o.recorded = true
		}
	}
}

// restarted says which orders a process knows that begins now: those recorded. A wall clock that was
// stepped ahead meanwhile shortens what is left of them.
func (d *destination) restarted(l *lane, epoch time.Duration) {
	d.orders = slices.DeleteFunc(d.orders, func(o *order) bool { return o.l == l && !o.recorded })
	for _, o := range d.orders {
		if o.l == l && epoch > o.epoch {
			o.until = o.until.Add(o.epoch - epoch)
			o.epoch = epoch
		}
	}
}

// withinLimit looks for a window with too many requests in it, as the destination received them.
func (d *destination) withinLimit() {
	if d.limit == 0 {
		return
	}
	slices.SortFunc(d.arrivals, time.Time.Compare)
	for i := d.limit; i < len(d.arrivals); i++ {
		if span := d.arrivals[i].Sub(d.arrivals[i-d.limit]); span < d.window {
			d.s.fault("at %v: %d requests arrived within %v, %d in %v allowed", d.arrivals[i].Format(clockFormat), d.limit+1, span, d.limit, d.window)
			return
		}
	}
}

// A process is a destination as one process and lane reaches it. Guarded by simulation.mu.
type process struct {
	*destination
	l      *lane
	ended  bool // it was killed or has closed
	busy   map[string]int
	flying map[*plan]bool
}

// A batching process carries several items in a request.
type batching struct{ *process }

func (b batching) BatchLimit() (items, bytes int) { return 5, 4000 }

func (b batching) SendBatch(ctx context.Context, items []sender.Item) []error {
	return b.request(ctx, items)
}

func (p *process) Send(ctx context.Context, it sender.Item) error {
	return p.request(ctx, []sender.Item{it})[0]
}

// A plan is how a request will end.
type plan struct {
	items   []sender.Item
	delay   time.Duration // until it arrives
	took    time.Duration
	deaf    bool // it ignores its context
	arrives bool // also when the answer is cut off
	panics  bool
	errs    []error
}

var errGone = errors.New("this process is no more")

func (p *process) request(ctx context.Context, items []sender.Item) []error {
	a := p.begin(items)
	if a == nil {
		return all(len(items), errGone)
	}
	var cut error
	if a.deaf {
		time.Sleep(a.took)
	} else {
		select {
		case <-time.After(a.took):
		case <-ctx.Done():
			cut = ctx.Err()
		}
	}
	return p.end(a, cut)
}

func (p *process) begin(items []sender.Item) *plan {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.ended {
		return nil
	}
	now := time.Now()
	for _, o := range p.orders {
		if now.After(o.at) && now.Before(o.until) {
			p.s.fault("lane %s: a request started %v after lane %s was given a Retry-After of %v", p.l.name, now.Sub(o.at), o.l.name, o.until.Sub(o.at))
		}
	}
	a := p.plan(items)
	p.arrivals = append(p.arrivals, now.Add(a.delay))
	for i := range items {
		it := &items[i]
		if it.Key != "" {
			if p.busy[it.Key]++; p.busy[it.Key] > 1 {
				p.s.fault("lane %s: two events of key %q on their way at once, the second is %s", p.l.name, it.Key, nameOf(it.Payload))
			}
		}
		p.l.starts(it, now)
	}
	p.flying[a] = true
	return a
}

// starts checks that an item may be sent now, as it is.
func (l *lane) starts(it *sender.Item, now time.Time) {
	e := l.byName[nameOf(it.Payload)]
	if e == nil {
		l.s.fault("lane %s: %s arrived, which was never put", l.name, it.Payload)
		return
	}
	if e.requests++; e.ID == uuid.Nil {
		e.ID = it.ID // Put has not returned yet
	}
	if string(e.Payload) != string(it.Payload) || e.Kind != it.Kind || e.Key != it.Key || e.ID != it.ID || e.Header["n"] != it.Header["n"] {
		l.s.fault("%v was put as %+v, and arrived as %+v", e, e.Event, it)
	}
	switch {
	case e.can&dropped != 0:
	case l.o.Sender.AtMostOnce && e.can&sending == 0:
		l.s.fault("%v is sent at most once, it is %v, and not on record", e, e.can)
	case e.can&alive == 0:
		l.s.fault("%v is sent, and it is %v", e, e.can)
	}
	if !it.Expires.IsZero() && !now.Before(it.Expires) {
		l.s.fault("%v was sent %v after its end", e, now.Sub(it.Expires))
	}
	if e.Key == "" || e.free {
		return
	}
	for _, earlier := range l.byKey[e.Key] {
		if earlier.before(e) && !earlier.free && (earlier.can == pending || earlier.can == sending) {
			l.s.fault("%v is sent, and %v before it is %v", e, earlier, earlier.can)
		}
	}
}

func (p *process) end(a *plan, cut error) []error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.ended {
		return all(len(a.items), errGone)
	}
	delete(p.flying, a)
	for _, it := range a.items {
		if it.Key != "" {
			p.busy[it.Key]--
		}
	}
	if cut != nil {
		if a.arrives {
			p.accept(a)
		}
		return all(len(a.items), cut)
	}
	p.accept(a)
	if a.panics {
		panic("the transport panics")
	}
	now := time.Now()
	if len(a.errs) == len(a.items) {
		for _, err := range a.errs {
			if t := (*told)(nil); errors.As(err, &t) {
				p.orders = append(p.orders, &order{l: p.l, at: now, until: now.Add(t.wait), epoch: p.s.epoch})
				p.s.longest = max(p.s.longest, t.wait)
			}
		}
	}
	return a.errs
}

// accept notes what the destination accepts of a request.
func (p *process) accept(a *plan) {
	for i, it := range a.items {
		e := p.l.byName[nameOf(it.Payload)]
		if i >= len(a.errs) || a.errs[i] != nil || e == nil {
			continue
		}
		if e.accepted++; p.l.o.Sender.AtMostOnce && e.accepted > 1+e.revived {
			p.s.fault("%v was accepted for the %d. time, and revived %d times", e, e.accepted, e.revived)
		}
	}
}

// told is a 429 with its Retry-After.
type told struct{ wait time.Duration }

func (t *told) Error() string { return fmt.Sprintf("429, Retry-After: %v", t.wait) }

// stop ends a process: its requests on their way reach the destination, or do not. It will not know.
func (p *process) stop() {
	p.ended = true
	for a := range p.flying {
		if a.arrives {
			p.accept(a)
		}
	}
}

// plan decides by the mood, and by what is sent for the how many-th time.
func (p *process) plan(items []sender.Item) *plan {
	h := fnv.New64a()
	h.Write(items[0].Payload)
	if e := p.l.byName[nameOf(items[0].Payload)]; e != nil {
		fmt.Fprint(h, e.requests, p.l.name)
	}
	r := rand.New(rand.NewPCG(p.s.seed, h.Sum64()))
	a := &plan{items: items, errs: make([]error, len(items)), arrives: r.IntN(2) == 0}
	a.delay = time.Duration(r.Int64N(int64(longestDelay)))
	a.took = a.delay + time.Duration(r.IntN(30))*time.Millisecond
	mood := p.mood
	if mood == "mixed" {
		mood = moods[r.IntN(len(moods)-2)]
	}
	switch mood {
	case "slow":
		a.took += time.Duration(r.IntN(1500)) * time.Millisecond
	case "timeout":
		a.took = time.Hour
	case "panic":
		a.panics = r.IntN(2) == 0
	case "hang":
		a.deaf, a.took = true, a.took+time.Duration(1+r.IntN(6000))*time.Millisecond
	case "odd":
		switch {
		case len(items) > 1 && r.IntN(2) == 0:
			a.errs = all(len(items), sender.Split(errors.New("413")))
		case len(items) > 1:
			a.errs = all(len(items)+1, errors.New("one verdict too many"))
		}
	}
	for i, it := range items {
		if err := p.verdict(mood, it, r); err != nil && i < len(a.errs) && a.errs[i] == nil {
			a.errs[i] = err
		}
	}
	return a
}

func (d *destination) verdict(mood string, it sender.Item, r *rand.Rand) error {
	switch {
	case d.healed:
	case it.Kind == "poison 500":
		return errors.New("500")
	case it.Kind == "poison 403":
		return sender.Unavailable(errors.New("403"))
	}
	one := func(in int) bool { return r.IntN(in) == 0 }
	switch {
	case mood == "500":
		return errors.New("500")
	case mood == "403":
		return sender.Unavailable(errors.New("403"))
	case mood == "429" && one(2):
		return sender.Throttled(errors.New("429"), 0)
	case mood == "429 for a time" && one(3):
		wait := time.Duration(1+r.IntN(40_000)) * time.Millisecond
		if one(20) {
			wait *= 300
		}
		return sender.Throttled(&told{wait}, wait)
	case mood == "later" && one(2):
		return sender.Later(errors.New("later"), time.Duration(r.IntN(30_000))*time.Millisecond)
	case mood == "permanent" && one(4):
		return sender.Permanent(errors.New("400"))
	case mood == "hang" && one(2):
		return errors.New("500 at last")
	}
	return nil
}

func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}
