//go:build linux

package store

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var syncCall = regexp.MustCompile(`\b(fdatasync|fsync)\(`)

// traced runs the commands in a child over a copy of the file at path, and returns its writes and
// syncs, in order, each with the path of its file.
func traced(t *testing.T, path string, commands ...string) []string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "outbox"), b)
	log := filepath.Join(dir, "strace")
	c := startChild(t, "sync", filepath.Join(dir, "outbox"), "strace", "-f", "-y", "-o", log, "-e", "trace=fdatasync,fsync,pwrite64,pwritev,ftruncate")
	for _, command := range commands {
		fmt.Fprintln(c.in, command)
		c.says(t, "done")
	}
	c.end(t)
	out, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "resumed>") {
			continue
		}
		if _, call, ok := strings.Cut(line, " "); ok && strings.Contains(call, "(") {
			calls = append(calls, strings.TrimSpace(call))
		}
	}
	return calls
}

func syncs(calls []string) (n int) {
	for _, call := range calls {
		if syncCall.MatchString(call) {
			n++
		}
	}
	return n
}

func needStrace(t *testing.T) {
	t.Helper()
	if os.Getenv("OUTBOX_STRACE") != "1" {
		t.Skip("OUTBOX_STRACE is not 1")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal(err)
	}
}

// The syncs that the promise rests on are counted where they are made. Set OUTBOX_STRACE=1 to run it.
func TestSyncs(t *testing.T) {
	needStrace(t)
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	for range 10 {
		put(t, s, events(10)...)
	}
	checkedClose(t, s)

	opened := traced(t, path)
	if len(opened) < 2 || !strings.HasPrefix(opened[0], "pwrite64(") || !strings.Contains(opened[0], fmt.Sprintf("%d, 0", 2*os.Getpagesize())) || !syncCall.MatchString(opened[1]) {
		t.Errorf("Open does not begin by writing both metas back and syncing them:\n%s", strings.Join(opened, "\n"))
	}
	for _, call := range opened[1:] {
		if strings.HasPrefix(call, "pwrite") || strings.HasPrefix(call, "ftruncate") {
			t.Errorf("Open writes more than the metas: %s", call)
		}
	}
	one := traced(t, path, "one")
	if got := syncs(one) - syncs(opened); got != 3 {
		t.Errorf("the first Append takes %d syncs, want 2 and that of the room ahead:\n%s", got, strings.Join(one, "\n"))
	}
	if got := syncs(traced(t, path, "one one one")) - syncs(one); got != 2*2 {
		t.Errorf("two more Appends after each other take %d syncs, want 4", got)
	}
	if got := syncs(traced(t, path, "many")) - syncs(opened); got < 2 || got > 32 {
		t.Errorf("64 Appends at once take %d syncs, want a few", got)
	}
}

// The metas that a killed process left may be in the page cache alone. Open writes them back and syncs the
// file itself, not only its directory, before it writes anything else.
func TestSyncsAfterKill(t *testing.T) {
	needStrace(t)
	path := filepath.Join(t.TempDir(), "outbox")
	c := startChild(t, "sync", path)
	fmt.Fprintln(c.in, "one")
	c.says(t, "done")
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // killed

	calls := traced(t, path, "one")
	metas := regexp.MustCompile(fmt.Sprintf(`^pwrite64\(\d+<[^>]*/outbox>, .*, %d, 0\)`, 2*os.Getpagesize()))
	synced := regexp.MustCompile(`^(fdatasync|fsync)\(\d+<[^>]*/outbox>\)`)
	if len(calls) < 3 || !metas.MatchString(calls[0]) || !synced.MatchString(calls[1]) {
		t.Errorf("Open does not begin by writing both metas back and syncing the file:\n%s", strings.Join(calls, "\n"))
	}
}
