//go:build unix && !darwin

package store

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// useUpFiles opens files until the process has no descriptor left.
func useUpFiles(t *testing.T) (giveBack func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	now := was
	now.Cur = 128
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	giveBack = sync.OnceFunc(func() {
		for _, f := range files {
			f.Close()
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(giveBack)
	for len(files) < 1000 {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return giveBack
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	t.Fatal("the limit is not kept here")
	return nil
}

// Without descriptors what is open goes on; a file that fails stays failed and says why, and heals once there
// are some again; nothing that was acknowledged is lost, and nothing is left lying about.
func TestWithoutDescriptors(t *testing.T) {
	s, forward := clocked(t, &prompt)
	put(t, s, event("a", "k"), event("b", "k"))
	held := claims(t, s, 1)

	giveBack := useUpFiles(t)
	put(t, s, event("c", ""))
	settle(t, s, delivered(held...)...)
	wantError(t, s.Compact(t.Context()), syscall.EMFILE)
	put(t, s, event("d", ""))
	for _, path := range []string{s.Path(), filepath.Join(filepath.Dir(s.Path()), "other")} {
		_, err := Open(path, &prompt)
		wantError(t, err, syscall.EMFILE)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFormat) || errors.Is(err, ErrLocked) {
			t.Errorf("the error blames the file: %v", err)
		}
	}

	f := makeFaulty(s)
	f.armed.Store(1)
	wantError(t, s.Append(t.Context(), event("lost", "")), sender.ErrStorage)
	for range 2 {
		err := s.Append(t.Context(), event("refused", ""))
		wantError(t, err, sender.ErrStorage)
		wantError(t, err, syscall.EMFILE)
		wantError(t, s.Counts().Err, syscall.EMFILE)
		forward(time.Minute) // it tries to heal again, in vain
	}
	giveBack()
	wantNames(t, "afterwards", drain(t, s), "b", "c", "d")
	if got := entries(t, filepath.Dir(s.Path())); len(got) != 1 {
		t.Errorf("in the directory: %q", got)
	}
}
