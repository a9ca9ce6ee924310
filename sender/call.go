package sender

import (
	"context"
	"sync"
	"time"
)

// call is the context of one call of the transport: a [context.WithDeadline] that is made when the
// transport first asks for more than the deadline. A transport that does not ask saves four
// allocations and a third of the CPU of a drain.
//
//   - The worker sets run and deadline before the call. They do not change afterwards.
//   - once guards the other fields. The first of two decides what they are: the transport makes the
//     real context, or the end of the call leaves a context that has ended.
//   - The real context does the rest: its timer, its children, its error.
type call struct {
	run      context.Context // of all calls; see loop.ctx
	deadline time.Time

	once   sync.Once
	real   context.Context
	cancel context.CancelFunc // of real; nil: nobody asked before the end of the call
}

func (c *call) Deadline() (time.Time, bool) { return c.deadline, true }
func (c *call) Done() <-chan struct{}       { return c.made().Done() }
func (c *call) Err() error                  { return c.made().Err() }

// Value also leads the children of c to the real context, so that they need no goroutine.
func (c *call) Value(key any) any { return c.made().Value(key) }

// made returns the real context, and makes it if there is none yet.
func (c *call) made() context.Context {
	c.once.Do(func() { c.real, c.cancel = context.WithDeadline(c.run, c.deadline) })
	return c.real
}

// end cancels c. If nobody has asked yet, ended takes the place of the real context.
func (c *call) end(ended context.Context) {
	c.once.Do(func() { c.real = ended })
	if c.cancel != nil {
		c.cancel()
	}
}
