//go:build unix && !darwin

package store

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A lane that is opened again knows how large its items are: on a full disk a large item that was put
// before can still be retried and given up. The limit is one of a process, so the test is a process too.
func TestDiskFullAfterReopen(t *testing.T) {
	t.Parallel()
	const limited = "OUTBOX_TEST_LIMITED"
	if os.Getenv(limited) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestDiskFullAfterReopen$")
		c.Env = append(os.Environ(), limited+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s := newStore(t, nil)
	large := event("large", "")
	large.Payload = make([]byte, 1<<20)
	put(t, s, large)
	checkedClose(t, s)
	s = openStore(t, s.Path(), nil)
	limitFiles(t, 8<<20)
	if fillUp(t, s, 20_000) < 20 {
		t.Fatal("it was full from the start")
	}
	for fillUp(t, s, 20_000) > 0 { // pages that become free may take one or two more
	}
	settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now()))
	items := claims(t, s, 2)
	if len(items) != 2 || items[0].Kind != "large" && items[1].Kind != "large" {
		t.Fatalf("claimed %q, want the large one among them", kinds(items))
	}
	for _, it := range items {
		settle(t, s, failed(it, sender.Dead, time.Time{}))
	}
}

// When the disk is full for one commit, Erase removes its items in the next one and counts them once.
func TestEraseOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, nil)
		put(t, s, event("a", "ann"), event("b", "bob"), event("c", "ann"))
		commits := make(chan error) // what becomes of the commit that waits here
		s.Fault(func(committed bool) error {
			if committed {
				return nil
			}
			return <-commits
		})
		// asks starts a call and waits until its write is in a commit or waits for the next one.
		asks := func(call func() error) <-chan error {
			done := make(chan error, 1)
			go func() { done <- call() }()
			synctest.Wait()
			return done
		}
		add := func(name string) <-chan error {
			return asks(func() error { return s.Append(t.Context(), event(name, "")) })
		}
		n := 0
		first := add("first")
		erased := asks(func() (err error) { n, err = s.Erase(t.Context(), "ann"); return err })
		second := add("second") // shares the commit with which Erase begins
		commits <- nil
		synctest.Wait()
		refused := add("refused") // shares the commit that removes
		commits <- nil
		commits <- syscall.ENOSPC
		close(commits) // there is room again
		for what, done := range map[string]<-chan error{"first": first, "second": second, "Erase": erased} {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		wantError(t, <-refused, sender.ErrFull) // or it shared no commit with Erase
		if c := s.Counts(); n != 2 || c.Dropped != 2 || c.Pending != 3 {
			t.Errorf("%d removed, want 2; counts %+v", n, c)
		}
		wantNames(t, "left", drain(t, s), "b", "first", "second")
	})
}
