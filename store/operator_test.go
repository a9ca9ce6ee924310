package store

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
	"github.com/seed8107221f/outbox/store/internal/format"
)

var _ sender.Operator = (*Store)(nil)

// The clauses of the suite say what a pause is. These say what it is in a file.

func TestPauseFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, event("1", ""))
	end := time.Now().Add(time.Hour)
	if err := s.Pause(t.Context(), sender.Pause{Until: end}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Duration // from now, by the wall clock
		want int
	}{{0, 0}, {-24 * time.Hour, 0}, {time.Hour + time.Second, 1}} {
		now := time.Now()
		items, next, err := s.Claim(t.Context(), StepWall(t, now, c.at), 1, 0)
		if err != nil || len(items) != c.want {
			t.Fatalf("the wall clock stepped by %v: %q, %v", c.at, kinds(items), err)
		}
		if left := time.Hour - c.at; c.want == 0 && (next.Sub(now)-left).Abs() > time.Minute {
			t.Errorf("the wall clock stepped by %v: next is in %v, want %v", c.at, next.Sub(now), left)
		}
	}
}

// A pause whose commit failed, or may have: after the next commit memory is as the file.
func TestPauseOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, committed := range []bool{false, true} {
		s := newStore(t, nil)
		put(t, s, event("1", ""))
		it := claims(t, s, 1)[0]
		settle(t, s, sender.Outcome{Item: it, Verdict: sender.Released, PauseUntil: time.Now().Add(time.Hour)})
		fail := true
		s.Fault(func(after bool) error {
			if fail && after == committed {
				fail = false
				return broken
			}
			return nil
		})
		wantError(t, s.Pause(t.Context(), sender.Pause{By: "b"}), sender.ErrStorage)
		if err := s.do(t.Context(), s.newWrite(), 0); err != nil {
			t.Fatal(err)
		}
		if on := s.OperatorPause().By == "b"; on != committed {
			t.Errorf("Pause failed after its commit: %t, paused: %t", committed, on)
		}
		fail = true
		wantError(t, s.ClearThrottle(t.Context()), sender.ErrStorage)
		if err := s.do(t.Context(), s.newWrite(), 0); err != nil {
			t.Fatal(err)
		}
		if on := !s.Paused().IsZero(); on == committed {
			t.Errorf("ClearThrottle failed after its commit: %t, throttled: %t", committed, on)
		}
		s.Fault(nil)
	}
}

// A throttle that comes in the commit that clears another one is kept.
func TestClearThrottleBesideAThrottle(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, event("1", ""), event("2", ""))
	items := claims(t, s, 2)
	settle(t, s, sender.Outcome{Item: items[0], Verdict: sender.Released, PauseUntil: time.Now().Add(time.Hour)})
	end := time.Now().Add(time.Minute)
	var all sync.WaitGroup
	s.Fault(func(bool) error { time.Sleep(time.Millisecond); return nil })
	all.Go(func() { put(t, s, event("3", "")) }) // the others wait, and share a commit
	for range 20 {
		all.Go(func() { settle(t, s, sender.Outcome{Item: items[1], Verdict: sender.Released, PauseUntil: end}) })
		all.Go(func() {
			if err := s.ClearThrottle(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	settle(t, s, sender.Outcome{Item: items[1], Verdict: sender.Released, PauseUntil: end})
	if got := s.Paused(); got.Sub(end).Abs() > time.Millisecond {
		t.Errorf("paused until %v, want %v", got, end)
	}
	s.Fault(nil)
	path := s.Path()
	checkedClose(t, s)
	if got := openStore(t, path, nil).Paused(); got.Sub(end).Abs() > time.Millisecond {
		t.Errorf("after Open paused until %v, want %v", got, end)
	}
}

// A Claim that runs while Pause returns hands out nothing more.
func TestPauseBesideClaims(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, events(2000)...)
	for range 20 {
		var all sync.WaitGroup
		paused := make(chan struct{})
		all.Go(func() {
			for {
				items, next, err := s.Claim(t.Context(), time.Now(), 3, 0)
				if err != nil {
					t.Error(err)
					return
				}
				settle(t, s, delivered(items...)...)
				if next.IsZero() {
					select {
					case <-paused:
						return
					default:
					}
				}
			}
		})
		if err := s.Pause(t.Context(), sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		handedOut := func() int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.order.Counts().InFlight + int(s.ledger.Delivered)
		}
		before := handedOut()
		close(paused)
		all.Wait()
		if after := handedOut(); after != before {
			t.Errorf("%d were handed out when Pause returned, %d afterwards", before, after)
		}
		if err := s.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPauseIsKeptByCompact(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	put(t, s, event("1", ""))
	if err := s.Pause(t.Context(), sender.Pause{By: "oncall", Reason: "why"}); err != nil {
		t.Fatal(err)
	}
	want := s.OperatorPause()
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := s.Path()
	checkedClose(t, s)
	if got := openStore(t, path, nil).OperatorPause(); got != want {
		t.Errorf("the pause is %+v, was %+v", got, want)
	}
}

// A lane of an application's database can be paused too, one lane alone.
func TestPauseInADatabase(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "app.db"))
	a, err := In(db, "a", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, a)
	b, err := In(db, "b", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, b)
	put(t, a, event("1", ""))
	put(t, b, event("2", ""))
	if err := a.Pause(t.Context(), sender.Pause{}); err != nil {
		t.Fatal(err)
	}
	if got := append(claims(t, a, 1), claims(t, b, 1)...); len(got) != 1 || got[0].Kind != "2" {
		t.Errorf("claimed %q", kinds(got))
	}
}

// A damaged pause stops the lane: its operator may have ordered that nothing is sent.
func TestDamagedPause(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(t.Context(), sender.Pause{By: "oncall"}); err != nil {
		t.Fatal(err)
	}
	checkedClose(t, s)
	db := openDB(t, path)
	if err := db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte("outbox")).Bucket(format.BucketMeta)
		b := append([]byte{}, meta.Get(format.MetaOperator)...)
		b[20] ^= 1
		return meta.Put(format.MetaOperator, b)
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path, &prompt)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "pause of the operator") {
		t.Errorf("opened with a damaged pause: %v", err)
	}
}

// A pause that would be over already is refused, with both times in UTC.
func TestPauseThatIsOver(t *testing.T) {
	t.Parallel()
	until := time.Now()
	want := regexp.MustCompile(`would end at ` + regexp.QuoteMeta(until.UTC().Format(time.RFC3339Nano)) + `, and it is \d{4}-\d\d-\d\dT[\d:.]+Z$`)
	for name, q := range map[string]sender.Operator{"Store": newStore(t, nil), "Memory": &sendertest.Memory{}} {
		if err := q.Pause(t.Context(), sender.Pause{Until: until}); err == nil || !want.MatchString(err.Error()) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
