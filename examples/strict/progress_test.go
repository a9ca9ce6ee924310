package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
)

func TestProgressLine(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		stats outbox.Stats
		rate  float64
		want  string
	}{
		{outbox.Stats{}, 0, "pending 0  delivered 0"},
		{outbox.Stats{Pending: 12, Delivered: 34, Rate: 90}, 79.6, "pending 12  delivered 34  80/s"},
		{outbox.Stats{Pending: 1, Rate: 45, PausedUntil: now.Add(1500 * time.Millisecond)}, 0, "pending 1  delivered 0  paused for 1.5s"},
		{outbox.Stats{Pending: 1, PausedUntil: now.Add(-time.Second)}, 0, "pending 1  delivered 0"},
		{outbox.Stats{Pending: 1, Dead: 2, Held: "connection refused"}, 0, "pending 1  delivered 0  dead 2  held: connection refused"},
	} {
		if got := progressLine(c.stats, c.rate, now); got != c.want {
			t.Errorf("the line is %q, want %q", got, c.want)
		}
	}
}

// play renders what a terminal would show of out: a carriage return overwrites, the escape clears.
func play(out string) []string {
	var shown []string
	for line := range strings.SplitSeq(out, "\n") {
		if i := strings.LastIndex(line, "\r"); i >= 0 {
			line = line[i+1:]
		}
		shown = append(shown, strings.ReplaceAll(line, "\x1b[K", ""))
	}
	return shown
}

func TestScreen(t *testing.T) {
	t.Parallel()
	show := func(terminal bool) (string, string) {
		var out, err bytes.Buffer
		s := newScreen(&out, &err)
		s.terminal = terminal
		s.progress("one")
		s.progress(strings.Repeat("é", 200))
		s.warn(errors.New("a warning"))
		s.progress("three")
		s.printf("last")
		return out.String(), err.String()
	}
	out, err := show(false)
	if want := "one\n" + strings.Repeat("é", 200) + "\nthree\nlast\n"; out != want || err != "a warning\n" {
		t.Errorf("a pipe shows %q and %q", out, err)
	}
	out, err = show(true)
	if got := strings.Join(play(out), "|"); got != "last|" || err != "a warning\n" {
		t.Errorf("a terminal shows %q and %q in the end", got, err)
	}
	if !strings.Contains(out, strings.Repeat("é", 79)) || strings.Contains(out, strings.Repeat("é", 80)) {
		t.Errorf("a terminal line is not cut at 79 characters: %q", out)
	}
}

func TestOnlyFailuresFail(t *testing.T) {
	t.Parallel()
	var out, err bytes.Buffer
	s := newScreen(&out, &err)
	s.warn(errors.New("a malformed line"))
	s.fail(nil)
	if s.status() != success {
		t.Error("a warning fails the run")
	}
	s.fail(errors.New("a loss"))
	if s.status() != failure {
		t.Error("a failure does not fail the run")
	}
}
