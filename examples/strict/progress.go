package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
)

// A screen shows one progress line that changes, and reports that stay. On a terminal the line is
// redrawn in place; on a pipe each is a line of its own, and they are fewer.
type screen struct {
	terminal bool

	mu       sync.Mutex // guards what follows
	out, err io.Writer
	drawn    bool // the cursor stands behind a progress line
	failed   bool // fail was told of an error
}

func newScreen(out, err io.Writer) *screen {
	return &screen{terminal: isTerminal(out), out: out, err: err}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// printf prints a line that stays, to standard output.
func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// warn prints a line that stays, to standard error.
func (s *screen) warn(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	fmt.Fprintln(s.err, err)
}

// fail warns of an error and makes the exit status tell of it. nil is nothing.
func (s *screen) fail(err error) {
	if err == nil {
		return
	}
	s.warn(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = true
}

// status is the exit status.
func (s *screen) status() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return failure
	}
	return success
}

func (s *screen) clear() {
	if s.drawn {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.drawn = false
	}
}

// terminalWidth is where a progress line is cut on a terminal, in characters: one that wraps cannot
// be redrawn.
const terminalWidth = 79

func (s *screen) progress(line string) {
	if !s.terminal {
		s.printf("%s", line)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := []rune(line); len(r) > terminalWidth {
		line = string(r[:terminalWidth])
	}
	fmt.Fprintf(s.out, "\r%s\x1b[K", line)
	s.drawn = true
}

// follow shows the state of b until stop is called, which shows the last state and waits for follow
// to end.
func (s *screen) follow(b *outbox.Outbox) (stop func()) {
	every := time.Second
	if s.terminal {
		every = 200 * time.Millisecond
	}
	quit := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		last, at := b.Stats().Delivered, time.Now()
		for {
			select {
			case <-tick.C:
				st, now := b.Stats(), time.Now()
				s.progress(progressLine(st, float64(st.Delivered-last)/now.Sub(at).Seconds(), now))
				last, at = st.Delivered, now
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		ended.Wait()
		s.printf("%s", progressLine(b.Stats(), 0, time.Now()))
	}
}

// progressLine says how far the delivery is, how fast it went, in deliveries a second, and what
// holds it up.
func progressLine(s outbox.Stats, rate float64, now time.Time) string {
	var line strings.Builder
	fmt.Fprintf(&line, "pending %d  delivered %d", s.Pending, s.Delivered)
	if s.Dead > 0 {
		fmt.Fprintf(&line, "  dead %d", s.Dead)
	}
	if rate > 0 {
		fmt.Fprintf(&line, "  %.0f/s", rate)
	}
	if wait := s.PausedUntil.Sub(now); wait > 0 {
		fmt.Fprintf(&line, "  paused for %.1fs", wait.Seconds())
	}
	if s.Held != "" {
		fmt.Fprintf(&line, "  held: %s", s.Held)
	}
	return line.String()
}
