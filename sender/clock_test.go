package sender_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// The wall clock may be set by ten years: pauses, holds and backoffs last as long as they were
// told.
func TestClockIsSet(t *testing.T) {
	const decade = 10 * 365 * 24 * time.Hour
	for _, step := range []time.Duration{decade, -decade} {
		for _, c := range []struct{ answer, second string }{
			{"429:1h ok", "1h0m0s"},
			{"500 ok", "1h0m0s"},
			{"later:1h ok", "1h0m0s"},
			{"403 10m+403 ok", "10m1s"},
		} {
			t.Run(c.answer, func(t *testing.T) {
				in(t, func(l *lane) {
					var wall clock
					l.options.Concurrency = 1
					l.options.Timeout = time.Hour
					l.options.Backoff = steady(time.Hour)
					l.answer("a", c.answer)
					l.put("a")
					l.make()
					l.s.SetClock(wall.now)
					l.begin()
					l.wait(20 * time.Minute)
					wall.step(step)
					l.wait(10 * time.Minute)
					if l.put("b"); strings.HasPrefix(c.answer, "403") {
						l.wait(2 * time.Hour)
						l.ends("delivered 2")
						return
					}
					l.wait(30*time.Minute - 1)
					if n, _ := l.sent("a"); n != 1 {
						l.Fatalf("the clock was set, and a was sent %d times within the hour:\n%s", n, strings.Join(l.requests(), "\n"))
					}
					l.wait(time.Minute)
					if n, at := l.sent("a"); n != 2 || at.String() != c.second {
						l.Fatalf("a was sent %d times, last at %v, want at %v", n, at, c.second)
					}
					l.ends("delivered 2")
				})
			})
		}
	}
}

// Blame survives a clock that is set back: the failure lies ahead of it, and others succeed.
func TestBlameAfterClockIsSetBack(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Backoff = steady(time.Minute)
		l.options.MaxAttempts = 3
		l.answer("bad", "500")
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("bad"), Attempts: 1, Failures: 1, FailedAt: time.Now().AddDate(10, 0, 0)})
		l.put("good")
		l.run()
		l.wait(30 * time.Second)
		for range 10 {
			l.put("good")
			l.wait(time.Minute)
		}
		l.ends("delivered 11, dead bad")
	})
}

// A wall clock that is set back by a little, shortly before the end of a wait for it, does not let the
// lane sleep for ever: the timer fires before the clock shows the time.
func TestClockIsSetBackInTheLastMinute(t *testing.T) {
	for _, what := range []string{"scheduled", "paused by its operator"} {
		in(t, func(l *lane) {
			var wall clock
			end := time.Now().Add(30 * time.Second)
			it := sender.Item{ID: uuid.New(), Payload: []byte("a")}
			if what == "scheduled" {
				it.Due = end
			} else if err := l.Memory.Pause(l.Context(), sender.Pause{Until: end}); err != nil {
				l.Fatal(err)
			}
			l.append(it)
			l.make()
			l.s.SetClock(wall.now)
			l.begin()
			l.wait(10 * time.Second)
			wall.step(-5 * time.Second)
			l.wait(10 * time.Minute)
			l.wants("35s a ok")
		})
	}
}

// stored is a queue that keeps times by the wall clock alone, as a file does.
type stored struct{ *sendertest.Memory }

func (q stored) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Memory.Claim(ctx, now, max, bytes)
	for i := range items {
		items[i].FailedAt = items[i].FailedAt.Round(0)
	}
	return items, next, err
}

// No item is charged for an outage because the clock was set since the last success, and one item
// that fails again and again is not many.
func TestOutageAfterClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		in(t, func(l *lane) {
			var wall clock
			l.options.Backoff = steady(time.Minute)
			l.options.MaxAttempts = 5
			l.queue = stored{&l.Memory}
			l.put("good")
			l.make()
			l.s.SetClock(wall.now)
			l.begin()
			l.wait(time.Minute)
			wall.step(step)
			l.answer("*", "500")
			l.put("a")
			l.wait(50 * time.Minute)
			l.ends("delivered 1, pending a")
			if it := l.item("a"); it.Attempts != 1 || it.Failures < 50 || l.s.Status().Held != "" {
				l.Errorf("set by %v: %d attempts are charged of %d failures, want the first; held: %q", step, it.Attempts, it.Failures, l.s.Status().Held)
			}
			l.answer("bad", "500")
			l.answer("*", "ok")
			l.put("bad")
			for range 10 {
				l.put("good")
				l.wait(50 * time.Second) // not at the instants of bad
			}
			l.ends("delivered 12, dead bad")
		})
	}
}

// An item that is kept because everything is refused dies of a success, not of a clock that was set.
func TestKeptAfterClockIsSet(t *testing.T) {
	in(t, func(l *lane) {
		var wall clock
		l.queue = stored{&l.Memory}
		l.put("good")
		l.make()
		l.s.SetClock(wall.now)
		l.begin()
		l.wait(time.Minute)
		wall.step(-time.Hour)
		l.answer("*", "404")
		l.putAtOnce("a b c d e")
		l.wait(time.Minute)
		l.ends("delivered 1, pending a b c d e")
		l.answer("f", "405") // ends the row
		l.put("f")
		l.wait(30 * time.Minute)
		l.ends("delivered 1, dead f, pending a b c d e")
	})
}

// monotonic is a queue that tells next by the monotonic clock, as one may.
type monotonic struct{ *sendertest.Memory }

func (q monotonic) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Memory.Claim(ctx, now, max, bytes)
	if !next.IsZero() {
		next = now.Add(next.Sub(now.Round(0)))
	}
	return items, next, err
}

// An item scheduled by the wall clock goes within a minute of its time, when that clock is set.
func TestScheduleAfterClockIsSet(t *testing.T) {
	in(t, func(l *lane) {
		var wall clock
		l.queue = monotonic{&l.Memory}
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("a"), Due: time.Now().AddDate(5, 0, 0)})
		l.make()
		l.s.SetClock(wall.now)
		l.begin()
		l.wait(time.Hour)
		l.wants("")
		wall.step(6 * 365 * 24 * time.Hour)
		l.wait(time.Minute)
		l.ends("delivered 1")
	})
}
