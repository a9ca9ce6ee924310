//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// stolen is a store that could not heal, since somebody took the lock while it tried, with its clock
// and what lets go of the lock.
func stolen(t *testing.T) (s *Store, clock *atomic.Int64, letGo func()) {
	t.Helper()
	clock = new(atomic.Int64)
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := open(path, &prompt, func() time.Time { return time.Now().Add(time.Duration(clock.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	put(t, s, event("a", ""), event("b", ""))
	wantNames(t, "in flight", kinds(claims(t, s, 1)), "a")
	var thief *bolt.DB
	f := makeFaulty(s)
	f.then = func() {
		if err := syscall.Flock(descriptor(t, path), syscall.LOCK_UN); err != nil {
			t.Error(err)
		}
		thief = openDB(t, path)
	}
	f.armed.Store(1)
	wantError(t, s.Append(t.Context(), event("lost", "")), sender.ErrStorage)
	return s, clock, func() {
		if err := thief.Close(); err != nil {
			t.Error(err)
		}
	}
}

// descriptor is that by which this process has a file open.
func descriptor(t *testing.T, path string) int {
	t.Helper()
	want := statOf(t, path)
	for fd := range 1 << 12 {
		// A duplicate has the same lock, and can be closed.
		if dup, err := syscall.Dup(fd); err == nil {
			f := os.NewFile(uintptr(dup), path)
			info, err := f.Stat()
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			if os.SameFile(info, want) {
				return fd
			}
		}
	}
	t.Fatalf("%s is not open", path)
	return 0
}

func TestStaysFailedWhileItCannotHeal(t *testing.T) {
	s, clock, letGo := stolen(t)
	for range 2 {
		if err := s.Counts().Err; err == nil || !strings.Contains(err.Error(), s.Path()) {
			t.Errorf("Failed is %v, want the reason with the path", err)
		}
		err := s.Append(t.Context(), event("refused", ""))
		wantError(t, err, sender.ErrStorage)
		wantError(t, err, ErrLocked)
		_, _, err = s.Claim(t.Context(), time.Now(), 10, 0)
		wantError(t, err, sender.ErrStorage)
		for _, err := range s.Pending() {
			wantError(t, err, sender.ErrStorage)
		}
		wantError(t, s.Check(t.Context()), sender.ErrStorage)
		if s.Counts().Put != 2 {
			t.Errorf("counts %+v", s.Counts())
		}
		clock.Add(int64(time.Minute)) // it tries again, in vain
	}
	letGo()
	clock.Add(int64(time.Minute))
	put(t, s, event("c", ""))
	if err := s.Counts().Err; err != nil {
		t.Error(err)
	}
	wantNames(t, "not in flight", kinds(claims(t, s, 10)), "b", "c")
}

// Close says that the file has failed, and lets go of it all the same.
func TestCloseOfAFailedFile(t *testing.T) {
	s, _, letGo := stolen(t)
	err := s.Close()
	wantError(t, err, sender.ErrStorage)
	if err == nil || strings.Count(err.Error(), s.Path()) != 1 {
		t.Errorf("%v does not name the path once", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	letGo()
	wantNames(t, "afterwards", drain(t, openStore(t, s.Path(), nil)), "a", "b")
}

func TestClaimHeals(t *testing.T) {
	s, clock, letGo := stolen(t)
	letGo()
	clock.Add(int64(time.Minute))
	wantNames(t, "claimed", kinds(claims(t, s, 10)), "b")
	if err := s.Counts().Err; err != nil {
		t.Error(err)
	}
}
