package sender

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Observe has fn told every outcome that is recorded from now on, as [Options].OnOutcome is, and
// under the same duties: it is called after the record, by several goroutines at once, and must not
// block. Its panics are recovered, and the first one is logged. It hears of an outcome after
// OnOutcome, and after those that observe for longer. Observe may be called at any time. A nil fn
// is never called.
//
// stop ends that. Once it has returned no call begins, but one that has begun may still go on: stop
// does not wait for it. So it may be called from anywhere, also from fn, and more than once. fn may
// be called before Observe has returned: an fn that calls stop must be handed it, by a channel for
// example.
func (s *Sender) Observe(fn func(Outcome)) (stop func()) {
	if fn == nil {
		return func() {}
	}
	return s.observers.add(&observer{fn: fn})
}

// observers are the functions that hear of outcomes. The list is replaced, never changed.
type observers struct {
	mu   sync.Mutex // a leaf; guards changes of list
	list atomic.Pointer[[]*observer]
}

type observer struct {
	fn      func(Outcome)
	stopped atomic.Bool
	broken  sync.Once // the first panic is logged
}

// all returns the list, which must not be changed.
func (os *observers) all() []*observer {
	if list := os.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (os *observers) add(o *observer) (remove func()) {
	os.mu.Lock()
	defer os.mu.Unlock()
	list := append(slices.Clip(os.all()), o)
	os.list.Store(&list)
	return func() {
		o.stopped.Store(true) // for a tell that has the old list
		os.mu.Lock()
		defer os.mu.Unlock()
		list := slices.DeleteFunc(slices.Clone(os.all()), func(other *observer) bool { return other == o })
		os.list.Store(&list)
	}
}

// heard reports whether somebody hears of outcomes.
func (l *loop) heard() bool { return l.options.OnOutcome != nil || len(l.observers.all()) > 0 }

// tell calls OnOutcome and the observers with what the queue has recorded.
func (l *loop) tell(recorded []Outcome) {
	for _, o := range recorded {
		if o.Item.Seq == 0 && o.Item.ID == uuid.Nil {
			continue // a pause without an item
		}
		if l.options.OnOutcome != nil {
			l.call("OnOutcome", &l.listenerBroken, func() { l.options.OnOutcome(o, o.Took) })
		}
		for _, by := range l.observers.all() {
			if !by.stopped.Load() {
				l.call("observer", &by.broken, func() { by.fn(o) })
			}
		}
	}
}

// call calls a function of the user, and recovers its panics. who is the function in the log.
func (l *loop) call(who string, broken *sync.Once, fn func()) {
	defer func() {
		if v := recover(); v != nil {
			broken.Do(func() {
				l.options.Logger.Error("sender: a callback panicked; its further panics are not logged", "callback", who, "panic", fmt.Sprintf("%T", v), "stack", stack())
			})
		}
	}()
	fn()
}
