package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// A file that may only be read is refused as one that is not permitted. Root is denied nothing, so that
// the thread becomes somebody else for the call.
func TestOpenReadOnly(t *testing.T) {
	dir, err := os.MkdirTemp("", "outbox-read-only-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "outbox")
	written(t, path)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o444)); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
	}
	s, err := Open(path, &prompt)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want %v", err, fs.ErrPermission)
	}
}
