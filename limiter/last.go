package limiter

import "context"

// lastEvery is which start a call of WaitLast gets at the latest. At eighty starts a second that is
// five for the work that gives way, and live work loses a sixteenth of the rate, as much as Floor
// leaves after refusals.
const lastEvery = 16

// WaitLast is [Limiter.Wait] for work that gives way, such as an import beside live events. It lets
// a request start only when no call of Wait is waiting, so that it gets what they leave. So that it
// never starves, at most 15 calls of Wait pass a call of WaitLast that waits; then it is its turn.
// Among each other calls of WaitLast are served in order of arrival. Without a limit it does not
// wait.
func (l *Limiter) WaitLast(ctx context.Context) error {
	if err := l.Check(); err != nil {
		return err
	}
	return l.wait(ctx, l.last, true)
}

// A yields says whose turn it is: of Wait or of WaitLast. The mutex of its Limiter guards it.
//
//   - Only the first call of WaitLast takes part. The others wait behind it.
//   - When passed reaches lastEvery-1 the next start belongs to WaitLast, and Wait waits for it, or
//     for the end of its context.
type yields struct {
	waiting int           // calls of Wait that have not returned
	last    bool          // a call of WaitLast waits
	passed  int           // starts of Wait since then
	changed chan struct{} // closed, and replaced, when a call that sleeps shall look again
}

func (y *yields) lastsTurn() bool { return y.last && y.passed >= lastEvery-1 }

// may reports whether a call may start a request now, as far as the other kind is concerned.
func (y *yields) may(last bool) bool {
	if last {
		return y.waiting == 0 || y.lastsTurn()
	}
	return !y.lastsTurn()
}

// started notes that a request has started.
func (y *yields) started(last bool) {
	switch {
	case last:
		y.passed = 0
		y.wake()
	case y.last:
		if y.passed++; y.lastsTurn() {
			y.wake()
		}
	}
}

func (y *yields) wake() {
	close(y.changed)
	y.changed = make(chan struct{})
}

// arrives notes that a call of Wait begins, 1, or ends, -1.
func (l *Limiter) arrives(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.yields.waiting += n; l.yields.waiting == 0 && l.yields.last {
		l.yields.wake()
	}
}

// waitsLast notes that a call of WaitLast takes part from now on, or no longer.
func (l *Limiter) waitsLast(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.yields.last, l.yields.passed = on, 0
	l.yields.wake()
}
