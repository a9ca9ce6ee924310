package redislimiter

import (
	"context"
	"errors"
	"fmt"
)

// lastEvery is which start a call of WaitLast gets at the latest, as in package limiter.
const lastEvery = 16

// errYields: a call of Wait has come, and a call of WaitLast gives way.
var errYields = errors.New("redislimiter: gives way")

// WaitLast is [Limiter.Wait] for work that gives way to other work of this process, such as an
// import beside live events. It lets a request start only when no call of Wait is waiting, except
// that at most about 15 of them pass a call of WaitLast that waits. Among each other calls of
// WaitLast are served in order of arrival. What other processes start does not matter.
func (l *Limiter) WaitLast(ctx context.Context) error {
	select {
	case l.last <- struct{}{}:
		defer func() { <-l.last }()
	case <-ctx.Done():
		return fmt.Errorf("redislimiter: %w", ctx.Err())
	case <-l.ctx.Done():
		return errClosed
	}
	l.waitsLast(true)
	defer l.waitsLast(false)
	for {
		may, changed := l.mayLast()
		if may {
			if err := l.wait(ctx, true, changed); !errors.Is(err, errYields) {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("redislimiter: %w", ctx.Err())
		case <-l.ctx.Done():
			return errClosed
		}
	}
}

// A yields says whether WaitLast may take a turn. The mutex of its Limiter guards it.
type yields struct {
	waiting int           // calls of Wait that have not returned
	last    bool          // a call of WaitLast waits; only the first takes part
	passed  int           // starts of Wait since then
	changed chan struct{} // closed, and replaced, when it may be otherwise
}

func (y *yields) wake() {
	if y.last {
		close(y.changed)
		y.changed = make(chan struct{})
	}
}

// arrives notes that a call of Wait begins.
func (l *Limiter) arrives() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.yields.waiting++; l.yields.waiting == 1 {
		l.yields.wake()
	}
}

// leaves notes that a call of Wait ends, with a start or without.
func (l *Limiter) leaves(started bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.yields.waiting--; started {
		l.yields.passed++
	}
	if l.yields.waiting == 0 || l.yields.passed >= lastEvery-1 {
		l.yields.wake()
	}
}

// waitsLast notes that a call of WaitLast takes part from now on, or no longer.
func (l *Limiter) waitsLast(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.yields.last, l.yields.passed = on, 0
}

// mayLast reports whether WaitLast may take a turn now. When the channel is closed it may be
// otherwise; nil: it goes on until it has a start.
func (l *Limiter) mayLast() (may bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.yields.passed >= lastEvery-1 {
		return true, nil
	}
	return l.yields.waiting == 0, l.yields.changed
}
