package sender

import (
	"testing"
	"time"
)

// The gate is what workers see of a pause: it is only ever shut for longer.
func TestGate(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var g gate
	if g.shut(start) {
		t.Fatal("the zero gate is shut")
	}
	for _, c := range []struct {
		until, began, now int
		slow              bool
		opens             int
	}{
		{10, 0, 1, true, 10}, // the first is a new episode
		{5, 0, 2, false, 10}, // it began before the rate was lowered, and shortens nothing
		{20, 1, 3, false, 20},
		{25, 21, 22, true, 25}, // it began afterwards: too much again
	} {
		if slow := g.pause(at(c.until), at(c.began), at(c.now)); slow != c.slow {
			t.Errorf("429 at %ds to a request of %ds: slow down: %v, want %v", c.now, c.began, slow, c.slow)
		}
		if !g.shut(at(c.opens).Add(-1)) || g.shut(at(c.opens)) {
			t.Errorf("after a pause until %ds the gate does not open at %ds", c.until, c.opens)
		}
	}
}

func TestSilence(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		says  string
		do    func(s *silence)
		on    bool
		held  bool
		until int
	}{
		{"the zero silence is an open lane", func(*silence) {}, false, false, 0},
		{"a hold probes after a second", func(s *silence) { s.hold(at(0), "x") }, true, true, 1},
		{"a hold that is there stays", func(s *silence) { s.hold(at(0), "x"); s.hold(at(30), "y") }, true, true, 1},
		{"a hold during a pause adds nothing", func(s *silence) { s.pause(at(0), at(9), "x"); s.hold(at(1), "y") }, true, false, 9},
		{"failed probes wait longer", func(s *silence) { s.hold(at(0), "x"); s.probeFailed(at(1), "x"); s.probeFailed(at(3), "x") }, true, true, 7},
		{"a minute at most", func(s *silence) {
			s.hold(at(0), "x")
			for range 50 {
				s.probeFailed(at(100), "x")
			}
		}, true, true, 160},
		{"an order wins over a hold", func(s *silence) { s.hold(at(0), "x"); s.pause(at(0), at(50), "y") }, true, false, 50},
		{"an order does not shorten", func(s *silence) { s.pause(at(0), at(50), "x"); s.pause(at(1), at(9), "y") }, true, false, 50},
		{"a probe that fails during an order waits for it", func(s *silence) {
			s.pause(at(0), at(5), "x")
			s.pause(at(6), at(50), "y")
			s.probeFailed(at(7), "z")
		}, true, true, 50},
		{"a throttled probe waits as told", func(s *silence) { s.hold(at(0), "x"); s.probeThrottled(at(1), at(9), "y") }, true, false, 9},
		{"a success opens", func(s *silence) { s.hold(at(0), "x"); s.succeeded(at(1), at(2)) }, false, false, 0},
		{"not a success of an older request", func(s *silence) { s.hold(at(1), "x"); s.succeeded(at(0), at(2)) }, true, true, 2},
		{"nor of one that began with it", func(s *silence) { s.hold(at(1), "x"); s.succeeded(at(1), at(2)) }, true, true, 2},
		{"nor before an order is over", func(s *silence) { s.pause(at(0), at(9), "x"); s.succeeded(at(1), at(2)) }, true, false, 9},
		{"but when it is", func(s *silence) { s.pause(at(0), at(9), "x"); s.succeeded(at(9), at(10)) }, false, false, 0},
	} {
		var s silence
		c.do(&s)
		if s.on() != c.on || s.held != c.held || c.on && !s.until.Equal(at(c.until)) {
			t.Errorf("%s: got %+v; want on %v, held %v, until %v", c.says, s, c.on, c.held, at(c.until))
		}
	}
}
