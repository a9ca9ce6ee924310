package store

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// inUse opens a path that somebody has, and wants to be told within about patience.
func inUse(t *testing.T, path string, timeout, patience time.Duration) {
	t.Helper()
	start := time.Now()
	s, err := Open(path, &Options{LockTimeout: timeout})
	if err == nil {
		s.Close()
		t.Fatal("opened, though somebody has it")
	}
	wantError(t, err, ErrLocked)
	if !strings.Contains(err.Error(), path) {
		t.Errorf("error %q does not name %s", err, path)
	}
	said := regexp.MustCompile(`: in use: another process, or this one, has it(: no lock within (\d+ms|\d+(\.\d{1,3})?s))?$`)
	if !said.MatchString(err.Error()) || timeout < 0 && strings.Contains(err.Error(), "within") {
		t.Errorf("error %q, want %v", err, said)
	}
	if took := time.Since(start); took > patience || took < timeout/2 {
		t.Errorf("it took %v with a LockTimeout of %v", took, timeout)
	}
}

func TestLockedInThisProcess(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	inUse(t, s.Path(), -1, 5*time.Second)
	inUse(t, s.Path(), 200*time.Millisecond, 5*time.Second)
	put(t, s, event("a", ""))
	checkedClose(t, s)
	if s = openStore(t, s.Path(), nil); s.Counts().Ready != 1 {
		t.Errorf("%d items after it was let go, want 1", s.Counts().Ready)
	}
}

func TestLockIsWaitedFor(t *testing.T) {
	s := newStore(t, nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		second, err := Open(s.Path(), &Options{LockTimeout: 30 * time.Second})
		if err != nil {
			t.Error(err)
			return
		}
		if err := errors.Join(second.Check(context.Background()), second.Close()); err != nil {
			t.Error(err)
		}
	})
	checkedClose(t, s)
	wg.Wait()
}

func TestLockedByAnotherProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "outbox")
	written(t, path)
	c := startChild(t, "hold", path)
	c.says(t, "holding")
	inUse(t, path, -1, 5*time.Second)
	inUse(t, path, 200*time.Millisecond, 5*time.Second)
	c.end(t)
	if s := openStore(t, path, nil); s.Counts().Ready != 1 {
		t.Errorf("%d items after it was let go, want 1", s.Counts().Ready)
	}
}

func TestLaneIsOpenOnce(t *testing.T) {
	s := newStore(t, nil)
	if _, err := s.Lane(format.DefaultLane, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("the lane of Open again: %v, want ErrLocked", err)
	}
	mail, err := s.Lane("mail", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lane("mail", nil); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), s.Path()) {
		t.Errorf("a lane again: %v, want ErrLocked and the path", err)
	}
	put(t, mail, event("a", ""))
	checkedClose(t, mail)
	for what, err := range map[string]error{
		"Append": mail.Append(t.Context(), event("b", "")),
		"Drop":   second(mail.Drop(t.Context(), event("b", ""))),
		"Revive": second(mail.Revive(t.Context(), event("b", ""))),
	} {
		if !errors.Is(err, sender.ErrClosed) {
			t.Errorf("%s on a closed lane: %v, want sender.ErrClosed", what, err)
		}
	}
	if mail, err = s.Lane("mail", &prompt); err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, mail)
	wantNames(t, "after Close and Lane", drain(t, mail), "a")
	for _, name := range []string{"", strings.Repeat("x", 256)} {
		if _, err := s.Lane(name, nil); err == nil {
			t.Errorf("a lane with a name of %d bytes", len(name))
		}
	}
	checkedClose(t, mail)
	checkedClose(t, s)
	if _, err := s.Lane("late", nil); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("a lane of a closed store: %v, want sender.ErrClosed", err)
	}
}

func TestInIsOpenOnce(t *testing.T) {
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
	for range 2 { // a refusal leaves nothing behind
		if _, err := In(db, "a", nil); !errors.Is(err, ErrLocked) {
			t.Errorf("one bucket twice: %v, want ErrLocked", err)
		}
	}
	checkedClose(t, b)
	if b, err = In(db, "b", &prompt); err != nil {
		t.Fatal(err)
	}
	checkedClose(t, b)
	checkedClose(t, a)
	wantForgotten(t, db)
	if a, err = In(db, "a", &prompt); err != nil {
		t.Fatal(err)
	}
	checkedClose(t, a)
}

// wantForgotten wants no lane to be left in an application's database.
func wantForgotten(t *testing.T, db *bolt.DB) {
	t.Helper()
	f, err := boltfile.EnterShared(db, "probe", (*lane)(nil))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Lanes()) - 1; n > 0 {
		t.Errorf("%d lanes are remembered that were closed or refused", n)
	}
	f.Leave("probe")
}

// A lane that is closed while it is busy has taken what it acknowledged into the file before another
// may open it.
func TestLaneClosedWhileBusy(t *testing.T) {
	t.Parallel()
	s := newStore(t, nil)
	total := 0
	for range 20 {
		lane, err := s.Lane("mail", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		if c := lane.Counts(); c.Ready != total {
			t.Fatalf("opened with %d items, %d were stored", c.Ready, total)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				for {
					err := lane.Append(context.Background(), event("a", ""))
					if err != nil {
						wantError(t, err, sender.ErrClosed)
						return
					}
					mu.Lock()
					total++
					mu.Unlock()
				}
			})
		}
		put(t, s, event("a", ""))
		if err := lane.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := s.Lane("mail", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if c := next.Counts(); c.Ready != total {
			t.Fatalf("%d items, %d were stored", c.Ready, total)
		}
		checkedClose(t, next)
	}
}

// txID is the last transaction of the file of a lane.
func txID(t *testing.T, s *Store) (id int) {
	t.Helper()
	if err := s.file.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// appendAtOnce appends n items from n goroutines to each lane.
func appendAtOnce(s *Store, n int, more ...*Store) error {
	var wg sync.WaitGroup
	errs := make(chan error, n*(1+len(more)))
	for _, lane := range append(more, s) {
		for range n {
			wg.Go(func() { errs <- lane.Append(context.Background(), event("a", "")) })
		}
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// The appends of two lanes share commits. On a busy machine they may come one after the other, with
// nothing to share, so one round of five is enough.
func TestLanesShareCommits(t *testing.T) {
	s := newStore(t, nil)
	mail, err := s.Lane("mail", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	shared, rounds := false, 0
	for ; !shared && rounds < 5; rounds++ {
		before := txID(t, s)
		if err := appendAtOnce(s, n, mail); err != nil {
			t.Fatal(err)
		}
		shared = txID(t, s)-before <= n/2
	}
	if !shared {
		t.Errorf("%d appends took more than %d commits in each of %d rounds", 2*n, n/2, rounds)
	}
	if a, b := s.Counts().Ready, mail.Counts().Ready; a != n*rounds || b != n*rounds {
		t.Errorf("%d and %d items, want %d each", a, b, n*rounds)
	}
	if err := mail.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

// A lane and its file may be closed at the same time, in whatever order the two get on.
func TestLaneClosedBesideItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where waiting for ever is a failure
		s := newStore(t, nil)
		lane, err := s.Lane("mail", nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, lane, event("a", ""))
		lane.shut() // with which its Close begins
		checkedClose(t, s)
		lane.file.Leave(lane.name)
	})
}
