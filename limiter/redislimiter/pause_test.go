package redislimiter_test

import (
	"context"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
)

var _ sender.Resumer = (*redislimiter.Limiter)(nil)

// starts returns a channel that gets the error of a Wait.
func starts(t *testing.T, l *redislimiter.Limiter) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- l.Wait(t.Context()) }()
	return ended
}

// TestResume ends a pause without end by another process than the one that was told: both go on, and so
// does one that was made during the pause.
func TestResume(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := open(t, s.client(), 10, 100*time.Millisecond, nil), open(t, s.client(), 10, 100*time.Millisecond, nil)
	for range 3 {
		a.Pause(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
		await(t, "the pause of the other", func() bool { return pausedAt(t, b) })
		c := open(t, s.client(), 10, 100*time.Millisecond, nil)
		if c.Paused().IsZero() {
			t.Fatal("a new process does not know the pause")
		}
		var ended []<-chan error
		for _, l := range []*redislimiter.Limiter{a, b, c} {
			ended = append(ended, starts(t, l))
		}
		b.Resume()
		if p := b.Paused(); !p.IsZero() {
			t.Fatalf("paused until %v after Resume", p)
		}
		for _, e := range ended {
			if err := <-e; err != nil {
				t.Fatal(err)
			}
		}
		if d := open(t, s.client(), 10, 100*time.Millisecond, nil); !d.Paused().IsZero() {
			t.Fatal("Redis still has the pause")
		}
	}
	// A later pause counts again.
	b.Pause(time.Now().Add(time.Hour))
	await(t, "the pause of the other", func() bool { return pausedAt(t, a) })
}

// TestResumeKeepsRate ends a pause after a slow-down: there is no burst, and the rate stays low.
func TestResumeKeepsRate(t *testing.T) {
	t.Parallel()
	s, j := newServer(t), &judge{}
	l := open(t, s.client(), 50, time.Second, nil)
	full := l.Rate()
	fleet(t, j, l)
	await(t, "starts", func() bool { return j.count() > 60 })
	l.Slow()
	l.Pause(time.Now().Add(time.Hour))
	await(t, "half the rate", func() bool { return l.Rate() < 0.6*full })
	l.Resume()
	n := j.count()
	await(t, "starts after the pause", func() bool { return j.count() > n+20 })
	if r := l.Rate(); r > 0.8*full {
		t.Errorf("the rate is %v after Resume, about half of %v expected", r, full)
	}
	j.requireWithin(t, 50, time.Second)
}

// TestResumeWhileAway ends a pause while Redis is away: Local goes on at once, and the fleet when Redis
// is back.
func TestResumeWhileAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.addr)
	a := open(t, dial(t, p.addr), 10, 100*time.Millisecond, &redislimiter.Options{Local: &limiter.Limiter{}})
	b := open(t, s.client(), 10, 100*time.Millisecond, nil)
	b.Pause(time.Now().Add(time.Hour))
	await(t, "the pause", func() bool { return pausedAt(t, a) })
	p.to(nobody)
	a.Slow() // so that it asks
	await(t, "local", func() bool { return a.Mode() == redislimiter.Local })
	a.Resume()
	if err := a.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.Paused().IsZero() {
		t.Error("the other process is not paused, and nobody can have told it")
	}
	p.to(s.addr)
	await(t, "the end of the pause", func() bool { return b.Paused().IsZero() })
	if err := b.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestResumeUnheard ends a pause in a fleet that may not use the channel: who was told learns it from
// Redis all the same, without a restart.
func TestResumeUnheard(t *testing.T) {
	if testing.Short() {
		t.Skip("looks every ten seconds")
	}
	t.Parallel()
	s := newServer(t)
	a, b := open(t, s.mute(), 10, 100*time.Millisecond, nil), open(t, s.mute(), 10, 100*time.Millisecond, nil)
	a.Pause(time.Now().Add(time.Hour))
	await(t, "the pause", func() bool { return pausedAt(t, b) })
	ended := []<-chan error{starts(t, a), starts(t, b)}
	b.Resume()
	for _, e := range ended {
		if err := <-e; err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoChannel pauses a fleet whose user may not use channels, which is what Redis 7 gives a user that
// is told nothing else. The pause reaches the others with their next call, and nobody is away.
func TestNoChannel(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	a, b := open(t, s.mute(), 10, 100*time.Millisecond, nil), open(t, s.mute(), 10, 100*time.Millisecond, nil)
	a.Pause(time.Now().Add(time.Hour))
	await(t, "the pause", func() bool { return pausedAt(t, b) })
	for _, l := range []*redislimiter.Limiter{a, b} {
		if m := l.Status(); m.Cause != nil {
			t.Errorf("status %+v, no cause expected", m)
		}
	}
}

// pausedAt reports whether l knows of a pause; it asks Redis if it may.
func pausedAt(t *testing.T, l *redislimiter.Limiter) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = l.Wait(ctx)
	return !l.Paused().IsZero()
}
