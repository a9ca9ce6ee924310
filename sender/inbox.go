package sender

import "sync"

// inbox is how others reach the loop, and never wait for it: they leave a report, or change what the
// loop looks at, and ring. It waits for the bell alone: a select among nine channels took a third of the
// time of a drain.
type inbox struct {
	bell chan struct{} // holds one

	mu   sync.Mutex // a leaf; guards what follows
	list []report
}

// A report is what somebody has to tell the loop, which calls take.
type report interface {
	take(l *loop)
}

// leave adds a report. Those of one goroutine stay in order.
func (b *inbox) leave(r report) {
	b.mu.Lock()
	b.list = append(b.list, r)
	first := len(b.list) == 1
	b.mu.Unlock()
	if first {
		b.ring()
	}
}

// ring has the loop look at what has happened.
func (b *inbox) ring() {
	select {
	case b.bell <- struct{}{}:
	default:
	}
}

// empty takes the reports out. Those to come use the given space.
func (b *inbox) empty(space []report) []report {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = space[:0]
	return list
}

type (
	claim   struct{ *request } // the baton comes back
	answer  struct{ *request }
	pressed struct{}
	checked []*flush // those that have ended
)

func (c claim) take(l *loop)     { l.claimed(c.request) }
func (a answer) take(l *loop)    { l.answered(a.request) }
func (b *outcomes) take(l *loop) { l.recorded(b) }
func (pressed) take(l *loop)     { l.relax(l.now()) }
func (c checked) take(l *loop)   { l.flushed(c, l.now()) }
func (f *flush) take(l *loop)    { l.join(f) }
