package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
)

// A status is a stream that has a last line on a terminal, which is renewed, and lines above it.
type status struct {
	w        io.Writer
	terminal bool

	mu   sync.Mutex // held while w is written to
	last string
	told time.Time // when tell last wrote
}

// tell renews the last line on a terminal, at most five times a second.
func (s *status) tell(format string, args ...any) {
	if now := time.Now(); s.terminal && now.Sub(s.told) > 200*time.Millisecond {
		s.told = now
		s.set(fmt.Sprintf(format, args...))
	}
}

// Write writes lines above the last one.
func (s *status) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal || s.last == "" {
		return s.w.Write(p)
	}
	if _, err := fmt.Fprintf(s.w, "\r\x1b[K%s%s", p, s.last); err != nil {
		return 0, err
	}
	return len(p), nil
}

// set renews the last line; without a terminal it writes a line. "" ends it.
func (s *status) set(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.terminal:
		fmt.Fprintf(s.w, "\r\x1b[K%s", text)
		s.last = text
	case text != "":
		fmt.Fprintln(s.w, text)
	}
}

// follow shows an outbox until ctx ends: each second on a terminal, else each minute.
func (s *status) follow(ctx context.Context, b *outbox.Outbox) {
	every := time.Minute
	if s.terminal {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer s.set("")
	before := b.Stats().Requests
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		st := b.Stats()
		rate := float64(st.Requests-before) / every.Seconds()
		before = st.Requests
		s.set(fmt.Sprintf("put %s   delivered %s   in flight %s   pending %s   dead %s   %s/s",
			count(st.Put), count(st.Delivered), count(st.InFlight), count(st.Pending), count(st.Dead), perSecond(rate)))
	}
}
