// Package campaign decides how much the tests of this module go through, and where their files lie.
// Only tests import it.
package campaign

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Long reports whether the tests take the time that they need: OUTBOX_LONG=1, which CI sets.
// Otherwise they go through samples.
func Long() bool { return os.Getenv("OUTBOX_LONG") == "1" }

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

const prefix = "outbox-test-"

// Run runs the tests, for TestMain. Unless they are Long it has them make their files in memory,
// where there is such a thing: that files survive a power cut is not what they are about, and to
// wait for the disk is most of their time.
func Run(m *testing.M) {
	if Long() || runtime.GOOS != "linux" {
		m.Run()
		return
	}
	old, _ := filepath.Glob("/dev/shm/" + prefix + "*")
	for _, dir := range old { // of a run that died
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 2*time.Hour {
			os.RemoveAll(dir)
		}
	}
	if dir, err := os.MkdirTemp("/dev/shm", prefix); err == nil {
		defer os.RemoveAll(dir)
		os.Setenv("TMPDIR", dir)
	}
	m.Run()
}
