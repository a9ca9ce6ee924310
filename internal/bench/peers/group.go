package peers

import "sync"

// A group commits together what arrives while a commit runs: the group commit that a good engineer
// writes in an afternoon, and the yardstick for ours.
type group struct {
	commit func(items []item) error
	wake   chan struct{} // 1-buffered
	ended  chan struct{} // closed when run has returned

	mu   sync.Mutex // a leaf; guards what follows
	next *batch     // filled until the next commit begins
	over bool       // no more will come
}

type item struct {
	key     string
	payload []byte
}

// A batch is committed as a whole.
type batch struct {
	items []item
	done  chan struct{} // closed when err is set
	err   error
}

func newGroup(commit func([]item) error) *group {
	g := &group{commit: commit, wake: make(chan struct{}, 1), ended: make(chan struct{}), next: newBatch(nil)}
	go g.run()
	return g
}

func newBatch(items []item) *batch { return &batch{items: items, done: make(chan struct{})} }

func (g *group) put(it item) error {
	g.mu.Lock()
	b := g.next
	b.items = append(b.items, it)
	g.mu.Unlock()
	g.poke()
	<-b.done
	return b.err
}

func (g *group) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *group) run() {
	defer close(g.ended)
	var spare []item
	for range g.wake {
		g.mu.Lock()
		b, over := g.next, g.over
		g.next = newBatch(spare[:0])
		g.mu.Unlock()
		if len(b.items) > 0 {
			b.err = g.commit(b.items)
			close(b.done)
		}
		if over {
			return
		}
		spare = b.items
	}
}

// close ends run. No put may come later.
func (g *group) close() {
	g.mu.Lock()
	g.over = true
	g.mu.Unlock()
	g.poke()
	<-g.ended
}
