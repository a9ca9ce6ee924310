package store

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/seed8107221f/outbox/sender"
)

// stepWall is t after the wall clock was stepped by d, whole seconds, while the monotonic clock ran
// on: what time.Now returns then. A time with a monotonic reading keeps the seconds of its wall clock
// in the 33 bits from bit 30 of its first word.
func stepWall(t testing.TB, now time.Time, d time.Duration) time.Time {
	t.Helper()
	stepped := now
	*(*uint64)(unsafe.Pointer(&stepped)) += uint64(d/time.Second) << 30
	if got := stepped.Round(0).Sub(now.Round(0)); got != d || stepped.Sub(now) != 0 {
		t.Fatalf("stepped by %v by the wall and %v by the monotonic clock, want %v and 0", got, stepped.Sub(now), d)
	}
	return stepped
}

// year is as long as any clock is wrong in these tests.
const year = 365 * 24 * time.Hour

// openAt opens a store whose clock is off by d.
func openAt(t *testing.T, path string, d time.Duration) *Store {
	t.Helper()
	s, err := open(path, &prompt, func() time.Time { return stepWall(t, time.Now(), d) })
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	return s
}

// about reports whether two times are within a minute of each other.
func about(a, b time.Time) bool { return a.Sub(b).Abs() < time.Minute }

func TestRetriesOfAWrongClockArePulledBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openAt(t, path, 10*year)
	put(t, s, event("a1", "a"), event("a2", "a"), event("b1", "b"), event("c1", ""))
	now := s.clock.now()
	items, _, err := s.Claim(t.Context(), now, 10, 0)
	if err != nil || len(items) != 3 {
		t.Fatal(items, err)
	}
	settle(t, s,
		failed(items[0], sender.Retry, now.Add(time.Hour)),
		failed(items[1], sender.Retry, now.Add(3*time.Hour)),
		failed(items[2], sender.Retry, now.Add(2*time.Hour)))
	checkedClose(t, s)

	s = openStore(t, path, nil) // and the clock is right
	retrying := 0
	for _, it := range list(t, s.Pending()) {
		if !it.Due.IsZero() {
			retrying++
			if !about(it.Due, time.Now().Add(3*time.Hour)) {
				t.Errorf("%s is due in %v, want the longest delay ever granted, 3h", it.Kind, time.Until(it.Due))
			}
		}
	}
	if retrying != 3 {
		t.Errorf("%d retries, want 3", retrying)
	}
	if _, next, err := s.Claim(t.Context(), time.Now(), 10, 0); err != nil || !about(next, time.Now().Add(3*time.Hour)) {
		t.Errorf("next in %v, %v", time.Until(next), err)
	}
	items, _, err = s.Claim(t.Context(), time.Now().Add(4*time.Hour), 10, 0)
	if err != nil || len(items) != 3 {
		t.Errorf("due after four hours: %q, %v", kinds(items), err)
	}
}

func TestPauseNeverLastsLongerThanTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		told, later time.Duration // how wrong the clock is when it is told, and when it is opened again
		left        time.Duration
	}{
		{"right", 0, 0, time.Hour},
		{"was ahead", 10 * year, 0, time.Hour},
		{"is behind", 0, -10 * year, time.Hour},
		{"was behind", -10 * year, 0, 0},
		{"is ahead", 0, 10 * year, 0},
		{"is a little behind", 0, -time.Minute, time.Hour},
		{"is half an hour ahead", 0, 30 * time.Minute, 30 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox")
			s := openAt(t, path, tt.told)
			put(t, s, event("a", ""))
			it := claims(t, s, 1)[0]
			settle(t, s, sender.Outcome{Item: it, Verdict: sender.Released, PauseUntil: s.clock.now().Add(time.Hour)})
			if left := s.Paused().Sub(s.clock.now()); left < 59*time.Minute || left > time.Hour {
				t.Errorf("told an hour, paused for %v", left)
			}
			checkedClose(t, s)
			s = openAt(t, path, tt.later)
			left := max(0, s.Paused().Sub(s.clock.now()))
			if left > tt.left || left < tt.left-time.Minute {
				t.Errorf("paused for another %v, want %v", left, tt.left)
			}
			items, next, err := s.Claim(t.Context(), s.clock.now(), 1, 0)
			if err != nil || (len(items) == 1) != (tt.left == 0) || tt.left > 0 && !next.Equal(s.Paused()) {
				t.Errorf("claimed %q, next %v, %v", kinds(items), next, err)
			}
		})
	}
}

func TestPauseOnlyExtends(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, events(3)...)
	items := claims(t, s, 3)
	until := time.Now().Add(time.Hour)
	for i, pause := range []time.Time{until, until.Add(-time.Minute), {}} {
		settle(t, s, sender.Outcome{Item: items[i], Verdict: sender.Released, PauseUntil: pause})
		if !s.Paused().Equal(until) {
			t.Errorf("after %v paused until %v, want %v", pause, s.Paused(), until)
		}
	}
	path := s.Path()
	checkedClose(t, s)
	if s = openStore(t, path, nil); !about(s.Paused(), until) {
		t.Errorf("reopened: paused until %v, want %v", s.Paused(), until)
	}
}

// A step of the wall clock moves neither a retry nor a pause of a running store, and scheduled items
// with it.
func TestWallClockStepsWhileRunning(t *testing.T) {
	for _, step := range []time.Duration{10 * year, -10 * year} {
		t.Run(step.String(), func(t *testing.T) {
			var off atomic.Int64
			clock := func() time.Time { return stepWall(t, time.Now(), time.Duration(off.Load())) }
			s, err := open(filepath.Join(t.TempDir(), "outbox"), &prompt, clock)
			if err != nil {
				t.Fatal(err)
			}
			checkAtEnd(t, s)
			scheduled := event("scheduled", "")
			scheduled.Due = time.Now().Round(0).Add(24 * time.Hour)
			put(t, s, event("retried", ""), event("released", ""), scheduled)
			items := claims(t, s, 2)
			settle(t, s, failed(items[0], sender.Retry, clock().Add(time.Hour)))
			pause := clock().Add(30 * time.Minute)
			settle(t, s, sender.Outcome{Item: items[1], Verdict: sender.Released, PauseUntil: pause})

			off.Store(int64(step))
			due := func(after time.Duration) ([]string, time.Duration) {
				now := clock().Add(after)
				items, next, err := s.Claim(t.Context(), now, 10, 0)
				if err != nil {
					t.Fatal(err)
				}
				return kinds(items), next.Sub(now)
			}
			if names, next := due(0); len(names) > 0 || (next-30*time.Minute).Abs() > time.Minute {
				t.Errorf("in the pause: %q, next in %v, want 30m", names, next)
			}
			names, next := due(31 * time.Minute)
			if step > 0 { // the time of the scheduled one has come
				for range 1000 { // it is moved beside the claims
					if len(names) > 1 {
						break
					}
					time.Sleep(time.Millisecond)
					more, _ := due(31 * time.Minute)
					names = append(names, more...)
				}
				wantNames(t, "after the pause", names, "released", "scheduled")
			} else {
				wantNames(t, "after the pause", names, "released")
				if (next - 29*time.Minute).Abs() > time.Minute {
					t.Errorf("the retry is due in %v, want 29m", next)
				}
			}
			names, _ = due(61 * time.Minute)
			wantNames(t, "after an hour", names, "retried")
			if _, next := due(62 * time.Minute); step < 0 && (next-(10*year+24*time.Hour-62*time.Minute)).Abs() > time.Minute {
				t.Errorf("the scheduled one is due in %v", next)
			}
		})
	}
}

func TestScheduledItemsFollowTheWallClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openAt(t, path, 0)
	tomorrow := event("tomorrow", "")
	tomorrow.Due = time.Now().Add(24 * time.Hour)
	put(t, s, tomorrow)
	checkedClose(t, s)
	s = openAt(t, path, 23*time.Hour)
	if items, next, err := s.Claim(t.Context(), s.clock.now(), 1, 0); err != nil || len(items) > 0 || !about(next, s.clock.now().Add(time.Hour)) {
		t.Errorf("an hour before: %q, next %v, %v", kinds(items), next, err)
	}
	checkedClose(t, s)
	s = openAt(t, path, 25*time.Hour)
	var names []string
	for range 2 { // the first moves it to ready
		items, _, err := s.Claim(t.Context(), s.clock.now(), 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, kinds(items)...)
	}
	wantNames(t, "an hour after", names, "tomorrow")
}
