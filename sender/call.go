package sender

import (
	"context"
	"sync"
	"time"
)

// call is the context of one call into the transport: a [context.WithDeadline] that is made when
// somebody first asks for more than the deadline. Its timer and its place among the children of Run's
// context take four allocations, and a quarter of the time of a drain by a transport that asks for
// nothing. All that a context owes is left to the real one.
type call struct {
	run      context.Context // of Run
	deadline time.Time

	once    sync.Once // guards what follows
	context context.Context
	cancel  context.CancelFunc // nil: nobody asked before the end of the call
}

func (c *call) Deadline() (time.Time, bool) { return c.deadline, true }
func (c *call) Done() <-chan struct{}       { return c.made().Done() }
func (c *call) Err() error                  { return c.made().Err() }

// Value also leads the children of c to the real context, so that they are made as cheaply as its own.
func (c *call) Value(key any) any { return c.made().Value(key) }

func (c *call) made() context.Context {
	c.once.Do(func() { c.context, c.cancel = context.WithDeadline(c.run, c.deadline) })
	return c.context
}

// end cancels c, which becomes over if nobody has asked yet.
func (c *call) end(over context.Context) {
	c.once.Do(func() { c.context = over })
	if c.cancel != nil {
		c.cancel()
	}
}
