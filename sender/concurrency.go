package sender

import "fmt"

const maxConcurrency = 1 << 16

// SetConcurrency changes how many requests may be in flight; 0 means 10, 65536 is the most, and the
// error names the bound. Requests in flight finish, and a request that has its token may
// still start. It may be called at any time, also before Run. The setting is not kept: the next
// Sender begins with its [Options].
func (s *Sender) SetConcurrency(n int) error {
	n, err := checkConcurrency(n)
	if err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	s.concurrency.Store(int64(n))
	s.inbox.leave(concurrencySet{})
	return nil
}

// most returns how many requests may be in flight.
func (s *Sender) most() int { return int(s.concurrency.Load()) }

// checkConcurrency returns n, or what 0 means, or an error if n is out of bounds.
func checkConcurrency(n int) (int, error) {
	switch {
	case n < 0:
		return n, fmt.Errorf("the Concurrency is %d, the least is 0 (meaning 10)", n)
	case n > maxConcurrency:
		return n, fmt.Errorf("the Concurrency is %d, the most is %d", n, maxConcurrency)
	case n == 0:
		return 10, nil
	}
	return n, nil
}

// concurrencySet takes in that the number has changed. A worker that waits for its token must not
// start one request too many.
func (l *loop) concurrencySet() {
	l.changed = true
	if len(l.flight) >= l.most() {
		l.stopBaton()
	}
}
