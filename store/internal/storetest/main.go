package storetest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Long reports whether the tests are to take the time that they need. Otherwise they take samples,
// and their files lie in memory.
func Long() bool { return os.Getenv("OUTBOX_LONG") == "1" }

// Main is for TestMain. It has the tests make their files in memory, where there is such a thing:
// that files survive a power cut is not what they are about, and to wait for the disk is most of
// their time.
func Main(m *testing.M) {
	if !Long() && runtime.GOOS == "linux" {
		old, _ := filepath.Glob("/dev/shm/outbox-test-*")
		for _, dir := range old { // of a run that died
			if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 2*time.Hour {
				os.RemoveAll(dir)
			}
		}
		if dir, err := os.MkdirTemp("/dev/shm", "outbox-test-"); err == nil {
			defer os.RemoveAll(dir)
			os.Setenv("TMPDIR", dir)
		}
	}
	m.Run()
}

// Pick is how much of something a test goes through: all of it, a sample, or with -short a smaller
// one.
func Pick(long, sample, short int) int {
	switch {
	case Long():
		return long
	case testing.Short():
		return short
	}
	return sample
}
