package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// moods are what a moody destination can be in. Poisoned items, by their kind, fail in any of them.
var moods = [...]string{"ok", "ok", "slow", "500", "403", "429", "429 for a time", "later", "permanent", "timeout", "panic", "hang", "odd", "mixed", "mixed"}

// A moody destination outlives the processes that send to it, and sees whether they keep the promises.
type moody struct {
	seed uint64

	mu       sync.Mutex // guards what follows
	mood     string
	healed   bool           // there is no poison any more
	nth      map[string]int // requests so far, by payload
	starts   []time.Time    // of all requests, of all processes
	limit    int            // requests allowed in any second; 0: no limit
	orders   []order
	busy     map[string]int // requests on their way now, by key
	ids      map[string]uuid.UUID
	accepted map[string]int
	firsts   []string // payloads in the order of their first acceptance
	faults   []string // what a process did that it has promised not to do
}

// An order is a Retry-After, as given.
type order struct{ at, until time.Time }

// A process is a moody destination as one process reaches it.
type process struct {
	*moody
	ended  bool // it was killed or has closed; guarded by moody.mu
	flying map[*plan]bool
}

// A batching process carries up to five items in a request.
type batching struct{ *process }

func (b batching) BatchLimit() (items, bytes int) { return 5, 0 }

func (b batching) SendBatch(ctx context.Context, items []sender.Item) []error {
	return b.request(ctx, items)
}

func (p *process) Send(ctx context.Context, it sender.Item) error {
	return p.request(ctx, []sender.Item{it})[0]
}

// A plan is how a request will end.
type plan struct {
	items  []sender.Item
	took   time.Duration
	deaf   bool // it ignores its context
	panics bool
	errs   []error
}

var errGone = errors.New("this process is no more")

func (m *moody) fault(format string, args ...any) {
	m.faults = append(m.faults, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

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
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	now := time.Now()
	p.starts = append(p.starts, now)
	if i := len(p.starts) - 1 - p.limit; p.limit > 0 && i >= 0 && now.Sub(p.starts[i]) < time.Second {
		p.fault("%d requests within %v, %d a second allowed", p.limit+1, now.Sub(p.starts[i]), p.limit)
	}
	for _, o := range p.orders {
		if now.After(o.at) && now.Before(o.until) {
			p.fault("a request started %v after a Retry-After of %v", now.Sub(o.at), o.until.Sub(o.at))
		}
	}
	for _, it := range items {
		name := string(it.Payload)
		if it.Key != "" {
			if p.busy[it.Key]++; p.busy[it.Key] > 1 {
				p.fault("two events of key %q on their way at once, the second is %s", it.Key, name)
			}
		}
		if id, seen := p.ids[name]; seen && id != it.ID {
			p.fault("event %s came with ID %v, before with %v", name, it.ID, id)
		}
		if !it.Expires.IsZero() && !now.Before(it.Expires) {
			p.fault("event %s was sent %v after its end", name, now.Sub(it.Expires))
		}
		p.ids[name] = it.ID
		p.nth[name]++
	}
	a := p.plan(items)
	p.flying[a] = true
	return a
}

func (p *process) end(a *plan, cut error) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
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
		return all(len(a.items), cut)
	}
	p.accept(a)
	if a.panics {
		panic("the transport panics")
	}
	return a.errs
}

// accept takes note of a request whose answer is known. mu is held.
func (m *moody) accept(a *plan) {
	for i, it := range a.items {
		if i < len(a.errs) && a.errs[i] == nil {
			if m.accepted[string(it.Payload)]++; m.accepted[string(it.Payload)] == 1 {
				m.firsts = append(m.firsts, string(it.Payload))
			}
		}
		if t := (*told)(nil); i < len(a.errs) && errors.As(a.errs[i], &t) && !a.panics {
			now := time.Now()
			m.orders = append(m.orders, order{now, now.Add(t.wait)})
		}
	}
}

// told is a 429 with its Retry-After.
type told struct{ wait time.Duration }

func (t *told) Error() string { return fmt.Sprintf("429, Retry-After: %v", t.wait) }

// stop ends a process: its requests on their way have reached the destination, or have not. Killed, it
// will not know.
func (p *process) stop(rng *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for a := range p.flying {
		arrived := *a
		arrived.panics = true // nobody is told anything
		if rng.IntN(2) == 0 {
			p.accept(&arrived)
		}
	}
	clear(p.busy)
}

// plan decides by the mood, and by what is sent for the how many-th time. mu is held.
func (m *moody) plan(items []sender.Item) *plan {
	h := fnv.New64a()
	h.Write(items[0].Payload)
	r := rand.New(rand.NewPCG(m.seed, h.Sum64()+uint64(m.nth[string(items[0].Payload)])))
	a := &plan{items: items, took: time.Duration(r.IntN(30)) * time.Millisecond, errs: make([]error, len(items))}
	mood := m.mood
	if mood == "mixed" {
		mood = moods[r.IntN(len(moods)-2)]
	}
	switch mood {
	case "slow":
		a.took = time.Duration(r.IntN(1500)) * time.Millisecond
	case "timeout":
		a.took = time.Hour
	case "panic":
		a.panics = r.IntN(2) == 0
	case "hang":
		a.deaf, a.took = true, time.Duration(1+r.IntN(6000))*time.Millisecond
	case "odd":
		switch {
		case len(items) > 1 && r.IntN(2) == 0:
			a.errs = all(len(items), sender.Split(errors.New("413")))
		case len(items) > 1:
			a.errs = all(len(items)+1, errors.New("one verdict too many"))
		}
	}
	for i, it := range items {
		if err := m.verdict(mood, it, r); err != nil && i < len(a.errs) && a.errs[i] == nil {
			a.errs[i] = err
		}
	}
	if a.panics {
		a.errs = all(len(items), errors.New("nothing was accepted"))
	}
	return a
}

func (m *moody) verdict(mood string, it sender.Item, r *rand.Rand) error {
	switch {
	case m.healed:
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
