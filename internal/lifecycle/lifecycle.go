// Package lifecycle ends what others use: it refuses new calls, waits for those that run, and then
// ends the thing step by step, within a time.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Steps are what the end of a thing consists of. The first three run once each, in
// this order.
type Steps struct {
	// Refuse makes the calls give up that wait inside. It must not block.
	Refuse func()
	// Stop ends the work under ctx. With flush it first finishes what can be finished.
	Stop func(ctx context.Context, flush bool) []error
	// Close gives back what the thing uses. Its parts have ended then.
	Close func() error
	// Wrap names operation and place in an error of the end; nil stays nil.
	Wrap func(error) error
}

// A Life goes from the start of a thing to its end. All methods are safe for concurrent use.
type Life struct {
	steps Steps

	whole *Life // what this is a part of; nil: nothing. Set by Adopt, before the part is used

	mu     sync.Mutex // held for a few instructions only; guards the next three
	ending bool
	parts  map[*Life]bool // that have not ended
	calls  sync.WaitGroup // since Enter; Add needs mu, and is not called once ending is true

	done chan struct{} // closed when everything has ended
	errs []error       // of all steps and parts, each text once; read after done is closed
}

// New returns a Life that ends by these steps.
func New(steps Steps) *Life {
	return &Life{steps: steps, parts: make(map[*Life]bool), done: make(chan struct{})}
}

// Enter counts a call, which Leave ends. Once the end has begun it is sender.ErrClosed.
func (l *Life) Enter() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return sender.ErrClosed
	}
	l.calls.Add(1)
	return nil
}

// Leave ends a call that Enter counted.
func (l *Life) Leave() { l.calls.Done() }

// Ending reports whether the end has begun.
func (l *Life) Ending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ending
}

// Done is closed when everything has ended.
func (l *Life) Done() <-chan struct{} { return l.done }

// Adopt makes part end with l, and before l closes, unless it ends by itself before. It is called
// before others know of the part. Once the end of l has begun it is sender.ErrClosed.
func (l *Life) Adopt(part *Life) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return sender.ErrClosed
	}
	l.parts[part] = true
	part.whole = l
	return nil
}

// End takes the thing down. ctx limits the wait for calls, and the step Stop. It returns at most a
// second after the end of ctx, with an error; what hangs then goes on in the background. A second
// call waits for the first, and returns the same. A nil ctx is an error, and nothing ends.
func (l *Life) End(ctx context.Context, flush bool) error {
	if ctx == nil {
		return l.steps.Wrap(errors.New("the context is nil"))
	}
	l.begin(ctx, flush)
	select {
	case <-l.done:
		return errors.Join(l.errs...)
	case <-ctx.Done():
	}
	select {
	case <-l.done:
		return errors.Join(l.errs...)
	case <-time.After(time.Second):
		return l.steps.Wrap(fmt.Errorf("it has not ended yet, what is not delivered stays on disk: %w", context.Cause(ctx)))
	}
}

// begin begins the end, unless it has begun.
func (l *Life) begin(ctx context.Context, flush bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		return
	}
	l.ending = true
	go l.run(ctx, flush)
}

// run is the goroutine of the end.
func (l *Life) run(ctx context.Context, flush bool) {
	defer l.leaveWhole()
	defer close(l.done)
	l.steps.Refuse()
	l.mu.Lock()
	parts := slices.Collect(maps.Keys(l.parts))
	l.mu.Unlock()
	for _, p := range parts {
		p.begin(ctx, flush)
	}
	idle, cancel := context.WithCancel(ctx)
	go func() {
		l.calls.Wait() // for longer than ctx, if a call hangs
		cancel()
	}()
	<-idle.Done()
	for _, err := range l.steps.Stop(ctx, flush) {
		l.note(l.steps.Wrap(err))
	}
	for _, p := range parts {
		<-p.done
		for _, err := range p.errs {
			l.note(err)
		}
	}
	l.note(l.steps.Wrap(l.steps.Close()))
}

// note keeps an error of the end. A disk that fails makes several steps fail alike: that is said
// once.
func (l *Life) note(err error) {
	if err != nil && !slices.ContainsFunc(l.errs, func(e error) bool { return e.Error() == err.Error() }) {
		l.errs = append(l.errs, err)
	}
}

func (l *Life) leaveWhole() {
	if w := l.whole; w != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.parts, l)
	}
}
