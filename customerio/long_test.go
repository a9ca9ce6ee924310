package customerio_test

import (
	"os"
	"testing"
)

// long says whether the campaigns run at full length, with files on a real disk: OUTBOX_LONG=1, which CI
// sets. Without it the same tests run with smaller numbers, and the files of bubbles are in memory. With
// -short the tests are skipped that need their size.
var long = os.Getenv("OUTBOX_LONG") == "1"

// pick returns the number for this run: for OUTBOX_LONG=1, without it, and with -short.
func pick(whole, part, short int) int {
	switch {
	case long:
		return whole
	case testing.Short():
		return short
	}
	return part
}

// fileDir returns a directory for the file of a test that does not depend on a real disk. In memory a
// commit does not wait for the disk. A bubble does not notice: its clock stands still during that wait.
func fileDir(t *testing.T) string {
	t.Helper()
	if !long {
		// Linux has this directory, and others the usual one.
		if dir, err := os.MkdirTemp("/dev/shm", "customerio-test-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}
