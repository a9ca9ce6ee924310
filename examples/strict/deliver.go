package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// deliver puts the input into the outbox, delivers all that lies there, and prints the verdict.
func deliver(ctx context.Context, s *screen, set settings, stdin io.Reader) error {
	in, err := openInput(set.in, stdin)
	if err != nil {
		return fmt.Errorf("strict: input: %w", err)
	}
	defer in.Close()

	var own *outboxtest.Receiver
	if set.url == "" {
		if own, err = startReceiver(""); err != nil {
			return err
		}
		defer own.Close()
		set.url = own.URL
	}
	path := set.db
	if path == "" {
		if path, err = temporaryFile(); err != nil {
			return err
		}
	}
	f, err := openFile(path, &transport{url: set.url}, &outbox.Options{
		Sender:  sender.Options{Concurrency: set.concurrency},
		Limiter: pace(set),
	})
	if err != nil {
		return err
	}
	s.printf("delivering to %s by way of %s", set.url, path)
	before := f.outbox.Stats()
	s.fail(f.run(ctx, s, in))
	after := f.outbox.Stats()

	if after.Pending > 0 {
		s.fail(fmt.Errorf("strict: %d events remain", after.Pending))
	}
	if after.Dead > 0 {
		s.fail(fmt.Errorf("strict: %d events are dead", after.Dead))
	}
	if set.db == "" && s.status() == success {
		s.fail(os.Remove(path))
	} else {
		s.printf("the outbox is kept in %s", path)
	}

	if own == nil {
		s.printf("put=%d delivered=%d", after.Put, after.Delivered)
		return nil
	}
	// It saw this run alone: what was delivered before, it cannot know.
	conclude(s, own, after, after.Put-before.Delivered)
	return nil
}

// run feeds and drains the file, with its progress on the screen, and closes it.
func (f *file) run(ctx context.Context, s *screen, in io.Reader) error {
	stop := s.follow(f.outbox)
	defer stop()
	skipped := 0
	err := f.feed(ctx, in, func(m malformed) {
		skipped++
		s.warn(fmt.Errorf("strict: line %d is skipped: %w", m.line, m.err))
	})
	if skipped > 0 {
		s.warn(fmt.Errorf("strict: %d malformed lines were skipped", skipped))
	}
	if err == nil {
		err = f.drain(ctx)
	}
	if now := f.outbox.Stats(); ctx.Err() != nil {
		s.warn(fmt.Errorf("strict: interrupted: waiting for %d requests in flight, and for what can still be sent, at most %v; "+
			"what then remains of %d pending events stays in %s; a second interrupt kills", now.InFlight, grace, now.Pending, f.path))
	}
	return errors.Join(err, f.warnOfDead(s), f.close())
}

// deadShown is how many of the dead are named, at most.
const deadShown = 10

// warnOfDead names events that will not be sent again, and why.
func (f *file) warnOfDead(s *screen) error {
	shown := 0
	for it, err := range f.outbox.Dead() {
		if err != nil || shown == deadShown {
			return err
		}
		shown++
		s.warn(fmt.Errorf("strict: event %s, kind %q, is dead: %s", it.ID, it.Kind, it.LastErr))
	}
	return nil
}

// conclude judges what the receiver saw and prints the last line. expected is how many distinct
// events it should have seen by now if none is left.
func conclude(s *screen, r *outboxtest.Receiver, after outbox.Stats, expected uint64) {
	judge(s, r)
	v := r.Verdict()
	if unique := uint64(v.Accepted - v.Repeated); unique != expected && after.Pending == 0 && after.Dead == 0 {
		s.fail(fmt.Errorf("strict: %d distinct events were received, %d expected", unique, expected))
	}
	s.printf("put=%d %s", after.Put, summary(v))
}

// pace is the limit that the receiver states, or what the flags say instead. Each request in flight
// is taken off it: Within allows for 100 ms of jitter, and a machine that is busy, or a process
// that was stopped for a moment, delays what it has in flight for longer than that.
func pace(set settings) *limiter.Limiter {
	if set.rate == 0 {
		return limiter.Within(max(1, limitRequests-set.concurrency), limitWindow)
	}
	return &limiter.Limiter{PerSecond: set.rate, Burst: set.burst}
}

// temporaryFile makes an empty file and returns its path.
func temporaryFile() (string, error) {
	f, err := os.CreateTemp("", "strict-*.db")
	if err != nil {
		return "", fmt.Errorf("strict: %w", err)
	}
	return f.Name(), f.Close()
}
