package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Clocks that show a year which the file cannot hold. Go keeps no monotonic reading after 2157.
var outOfRange = map[string]func(testing.TB) time.Time{
	"1960": func(t testing.TB) time.Time { return stepWall(t, time.Now(), -66*year) },
	"2300": func(testing.TB) time.Time { return time.Now().Round(0).Add(274 * year) },
}

// While the clock shows a year that the file cannot hold, retries and pauses still come in their time, also
// after a restart, by the same clock or by a right one.
func TestClockOutOfRange(t *testing.T) {
	for name, clock := range outOfRange {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox")
			s := openStore(t, path, nil)
			scheduled := event("scheduled", "")
			scheduled.Due = time.Now().Add(time.Hour)
			put(t, s, event("retried", ""), event("released", ""), event("dead", ""), scheduled)
			checkedClose(t, s)

			o := prompt
			o.KeepDead = 24 * time.Hour
			reopen := func(now func() time.Time) {
				t.Helper()
				var err error
				if s, err = open(path, &o, now); err != nil {
					t.Fatal(err)
				}
				checkAtEnd(t, s)
			}
			wrong := func() time.Time { return clock(t) }
			due := func(after time.Duration) (names []string, next time.Duration) {
				t.Helper()
				now := s.clock.now().Add(after)
				for range 2 { // the first may only move what was scheduled
					items, at, err := s.Claim(t.Context(), now, 10, 0)
					if err != nil {
						t.Fatal(err)
					}
					for _, it := range items {
						if it.Kind != "scheduled" {
							names = append(names, it.Kind)
						}
					}
					next = at.Sub(now)
				}
				return names, next
			}

			reopen(wrong)
			now := s.clock.now()
			items, _, err := s.Claim(t.Context(), now, 3, 0)
			if err != nil || len(items) != 3 {
				t.Fatalf("claimed %q, %v", kinds(items), err)
			}
			gone := failed(items[2], sender.Dead, time.Time{})
			gone.Item.FailedAt = now
			settle(t, s, failed(items[0], sender.Retry, now.Add(time.Hour)), gone,
				sender.Outcome{Item: items[1], Verdict: sender.Released, PauseUntil: now.Add(30 * time.Minute)})
			for range 2 { // and once more after a restart
				if names, next := due(0); len(names) > 0 || (next-30*time.Minute).Abs() > time.Minute {
					t.Errorf("in the pause: %q, next in %v, want 30m", names, next)
				}
				checkedClose(t, s)
				reopen(wrong)
			}
			names, _ := due(31 * time.Minute)
			wantNames(t, "after the pause", names, "released")
			names, _ = due(61 * time.Minute)
			wantNames(t, "after an hour", names, "retried")
			if got := kinds(list(t, s.Dead())); len(got) != 1 {
				t.Errorf("the dead are %q", got)
			}
			checkedClose(t, s)

			reopen(time.Now) // and the clock is right
			names, _ = due(61 * time.Minute)
			if len(names) != 2 {
				t.Errorf("by a right clock: %q, want both", names)
			}
		})
	}
}

// What is scheduled goes by the wall clock, whatever year it shows.
func TestScheduledByAClockOutOfRange(t *testing.T) {
	for name, want := range map[string][]string{"1960": nil, "2300": {"scheduled"}} {
		path := filepath.Join(t.TempDir(), "outbox")
		s := openStore(t, path, nil)
		scheduled := event("scheduled", "")
		scheduled.Due = time.Now().Add(time.Hour)
		put(t, s, scheduled)
		checkedClose(t, s)
		s, err := open(path, &prompt, func() time.Time { return outOfRange[name](t) })
		if err != nil {
			t.Fatal(err)
		}
		checkAtEnd(t, s)
		var names []string
		for range 2 { // the first moves it
			items, _, err := s.Claim(t.Context(), s.clock.now(), 10, 0)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, kinds(items)...)
		}
		wantNames(t, name, names, want...)
	}
}
