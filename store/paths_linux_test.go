package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// asNobody makes the thread of the test somebody else until back is called, because root is denied
// nothing.
func asNobody(t *testing.T) (back func()) {
	runtime.LockOSThread()
	if os.Geteuid() != 0 {
		return runtime.UnlockOSThread
	}
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = syscall.Setfsuid(0)
		runtime.UnlockOSThread()
	}
}

// A file that may only be read is refused as one that is not permitted.
func TestOpenReadOnly(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "outbox-read-only-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "outbox")
	written(t, path)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o444)); err != nil {
		t.Fatal(err)
	}
	defer asNobody(t)()
	s, err := Open(path, &prompt)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want %v", err, fs.ErrPermission)
	}
}

// A file that was removed while it is in use is kept open, and what was acknowledged can be copied out of
// the descriptor.
func TestRemovedFileCanBeCopied(t *testing.T) {
	s, forward := clocked(t, &prompt)
	put(t, s, event("a", ""), event("b", ""))
	if err := os.Remove(s.Path()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantError(t, s.Append(t.Context(), event("into the void", "")), sender.ErrStorage)
		forward(time.Minute) // it tries to heal again, in vain
	}
	var copied string
	for _, fd := range entries(t, "/proc/self/fd") {
		if name, err := os.Readlink("/proc/self/fd/" + fd); err == nil && name == s.Path()+" (deleted)" {
			copied = s.Path() + ".copy"
			copyFile(t, "/proc/self/fd/"+fd, copied)
		}
	}
	if copied == "" {
		t.Fatal("it is not open any more")
	}
	if err := s.Close(); err != nil {
		t.Log(err) // what Close says of a lane that has failed is not the matter here
	}
	wantNames(t, "in the copy", drain(t, openStore(t, copied, nil)), "a", "b")
}

// A directory that may be written to and not read is refused as such, not as a disk that fails, and no file
// is made in it.
func TestOpenInUnreadableDirectory(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "outbox-unreadable-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o700); os.RemoveAll(dir) })
	path := filepath.Join(dir, "old")
	written(t, path)
	if err := errors.Join(os.Chmod(dir, 0o333), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	defer asNobody(t)()
	for _, name := range []string{"old", "new"} {
		s, err := Open(filepath.Join(dir, name), &prompt)
		if err == nil {
			s.Close()
		}
		wantError(t, err, fs.ErrPermission)
		if err == nil || errors.Is(err, sender.ErrStorage) || !strings.Contains(err.Error(), "open "+dir+": ") {
			t.Errorf("error %q does not say that the directory is at fault", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file was made: %v", err)
		}
	}
}
