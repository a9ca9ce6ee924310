package store

import (
	"os"
	"strings"
	"testing"
)

// A file that somebody cuts back to the size it had when it was opened is noticed by its size, before
// bbolt reads pages that are not there.
func TestCutToItsSizeAtOpen(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""))
	checkedClose(t, s)
	s, err := Open(s.Path(), &prompt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	opened := sizeOf(t, s.Path())
	for sizeOf(t, s.Path()) < opened+1<<20 {
		it := event("bulk", "")
		it.Payload = make([]byte, 100_000)
		put(t, s, it)
	}
	cutShort(opened)(t, s.Path())
	err = s.Append(t.Context(), event("into the void", ""))
	wantError(t, err, ErrCorrupt)
	if err == nil || !strings.Contains(err.Error(), "shorter while it was in use") {
		t.Errorf("error %v does not say that the file became shorter", err)
	}
}

func statOf(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
