//go:build unix && !darwin

package store

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// limitFiles lets no file grow beyond n bytes, as a full disk would, until the test ends or lift is called.
func limitFiles(t *testing.T, n int64) (lift func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	now := was
	setLimit(&now.Cur, n)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(lift)
	return lift
}

// setLimit sets a limit, whose type depends on the system.
func setLimit[T int64 | uint64](limit *T, n int64) { *limit = T(n) }

// fillUp puts items until the disk is full and returns how many fitted.
func fillUp(t *testing.T, s *Store, size int) (n int) {
	t.Helper()
	for ; ; n++ {
		it := event("full", "")
		it.Payload = make([]byte, size)
		err := s.Append(t.Context(), it)
		if err == nil {
			continue
		}
		wantError(t, err, sender.ErrFull)
		wantError(t, err, syscall.EFBIG)
		if strings.Contains(err.Error(), "no space") || !strings.Contains(err.Error(), "ulimit -f") {
			t.Errorf("error %q does not say what the limit is", err)
		}
		if !strings.Contains(err.Error(), "nothing was stored") || !strings.Contains(err.Error(), s.Path()) {
			t.Errorf("error %q does not tell what became of the items, or where", err)
		}
		return n
	}
}

// A disk without room refuses what is put and nothing else, and all goes on once there is room. The limit
// is that of a process, and so is the test.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	const limited = "OUTBOX_TEST_LIMITED"
	if os.Getenv(limited) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestDiskFull$")
		c.Env = append(os.Environ(), limited+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	s, forward := clocked(t, &prompt)
	lift := limitFiles(t, 4<<20)
	n := fillUp(t, s, 20_000)
	if n < 50 {
		t.Fatalf("%d items of 20,000 bytes fitted into a file of 4 MiB", n)
	}
	if err := s.Counts().Err; err != nil {
		t.Fatalf("a full disk is no failed one: %v", err)
	}
	for fillUp(t, s, 20_000) > 0 { // pages that become free may take one or two more
		n++
	}
	before := txID(t, s)
	for range 10 {
		if fillUp(t, s, 20_000) > 0 {
			t.Error("it was not full")
		}
	}
	if after := txID(t, s); after != before {
		t.Errorf("%d commits while the disk was full", after-before)
	}

	items := claims(t, s, n/2)
	for i, it := range items { // every verdict has room, in whatever order
		switch {
		case i%3 == 0:
			settle(t, s, failed(it, sender.Retry, time.Now().Add(time.Hour)))
		case i%3 == 1:
			settle(t, s, failed(it, sender.Dead, time.Time{}))
		default:
			settle(t, s, delivered(it)...)
		}
	}
	// What was delivered has left room, though the disk has none.
	put(t, s, event("in its place", ""))

	lift()
	forward(2 * time.Second)
	for range 500 {
		it := event("room", "")
		it.Payload = make([]byte, 20_000)
		put(t, s, it)
	}
	if c := s.Counts(); c.InFlight != 0 || c.Err != nil {
		t.Errorf("counts %+v", c)
	}
}

// The disk may have no room although nothing said so before: what makes room goes on alone.
func TestDiskFullInCommit(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := clocked(t, &Options{Gather: time.Hour, LockTimeout: -1})
			put(t, s, events(3)...)
			items := claims(t, s, 3)
			fails := 1
			s.Fault(func(committed bool) error {
				if !committed && fails > 0 {
					fails--
					return &os.PathError{Op: "write", Path: s.Path(), Err: why}
				}
				return nil
			})
			settled := make(chan error)
			go func() { settled <- s.Settle(t.Context(), delivered(items...)...) }()
			synctest.Wait()                                // it waits for company
			err := s.Append(t.Context(), event("new", "")) // shares its commit
			wantError(t, err, sender.ErrFull)
			wantError(t, err, why)
			if err := <-settled; err != nil {
				t.Errorf("settling on a full disk: %v", err)
			}
			if c := s.Counts(); c.Delivered != 3 || c.Put != 3 || c.Pending != 0 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

// What a full disk refused in an application's database was not stored, and the lane goes on.
func TestInDiskFullInCommit(t *testing.T) {
	_, s := newIn(t, nil)
	put(t, s, event("a", ""))
	fails := 1
	s.Fault(func(committed bool) error {
		if fails--; fails >= 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	err := s.Append(t.Context(), event("b", ""))
	wantError(t, err, sender.ErrFull)
	if err == nil || !strings.Contains(err.Error(), "nothing was stored") {
		t.Errorf("error %q does not say what became of the item", err)
	}
	put(t, s, event("c", ""))
	wantNames(t, "delivered", drain(t, s), "a", "c")
}

// A full disk fails a commit in an application's database, of the lane or of the application. With room
// both go on, without being opened again.
func TestInDiskFull(t *testing.T) {
	t.Parallel()
	const limited = "OUTBOX_TEST_LIMITED"
	if os.Getenv(limited) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestInDiskFull$")
		c.Env = append(os.Environ(), limited+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	db, s := newIn(t, nil)
	db.AllocSize = 0
	lift := limitFiles(t, 1<<20)
	large := event("full", "")
	large.Payload = make([]byte, 50_000)
	n := 0
	var err error
	for ; err == nil && n < 100; n++ {
		err = s.Append(t.Context(), large)
	}
	n--
	wantError(t, err, sender.ErrStorage)
	if err := appendTx(db, s, large); err == nil || errors.Is(err, sender.ErrStorage) {
		t.Errorf("error %v, want that of the application's own commit", err)
	}
	settle(t, s, delivered(claims(t, s, 2)...)...)

	lift()
	if err := appendTx(db, s, large); err != nil {
		t.Error(err)
	}
	put(t, s, large)
	if got := len(drain(t, s)); got != n {
		t.Errorf("%d were left, %d expected", got, n)
	}
}
