//go:build unix

package store

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOpenRefusesFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	refuses(t, path, ErrFormat, "it is a named pipe")
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("it is a FIFO no more: %v, %v", info, err)
	}
}

func TestOpenRefusesDevices(t *testing.T) {
	for _, path := range []string{"/dev/null", "/dev/zero"} {
		s, err := Open(path, &prompt)
		if err == nil {
			s.Close()
			t.Fatalf("%s was opened", path)
		}
		wantError(t, err, ErrFormat)
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "it is a device") {
			t.Errorf("error %q does not name %s and what it is", err, path)
		}
	}
}
