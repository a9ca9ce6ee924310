package lane

import (
	"context"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Start starts the lane of a store: it sends to t in the background, until Stop. A nil t only
// stores. The store belongs to the caller, who sets Life before others use the lane.
func Start(st Store, t sender.Transport, limiter sender.Limiter, o *sender.Options) (l *Lane, err error) {
	l = &Lane{Store: st, Limiter: limiter}
	e, exclusive := st.(sender.Exclusive)
	if t != nil {
		l.Sender, err = sender.New(st, t, limiter, o)
	} else if exclusive {
		err = e.Attach(nil)
	}
	if err != nil {
		return nil, err
	}
	l.refuse(nil) // an earlier lane may have closed it
	if a, ok := st.(sender.Announcer); ok && o.Logger != nil {
		a.Announce(o.Logger)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	if t != nil {
		l.running.Go(func() { l.runErr = l.Sender.Run(ctx) })
	}
	if l.wakes = t != nil && !exclusive; l.wakes {
		l.running.Go(func() {
			for tick := time.Tick(time.Second); ; l.Sender.Wake() { // for what is put elsewhere
				select {
				case <-tick:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return l, nil
}

// Wake tells the sender that something may be due, unless the store does.
func (l *Lane) Wake() {
	if l.wakes {
		l.Sender.Wake()
	}
}

// Refuse makes the calls give up that wait for room in the store.
func (l *Lane) Refuse() { l.refuse(sender.ErrClosed) }

func (l *Lane) refuse(err error) {
	if r, ok := l.Store.(sender.Refuser); ok {
		r.Refuse(err)
	}
}

// Stop ends what Start began; with flush it first delivers what it can. ctx limits the flush and
// the requests in flight.
func (l *Lane) Stop(ctx context.Context, flush bool) []error {
	var err error
	if flush {
		err = l.Flush(ctx, (*sender.Sender).LastFlush)
	}
	if l.Sender != nil {
		l.Sender.Stop(ctx)
	} else if e, ok := l.Store.(sender.Exclusive); ok {
		e.Detach()
	}
	l.cancel()
	l.running.Wait()
	return []error{err, l.runErr}
}
