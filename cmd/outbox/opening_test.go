package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/store"
)

// A file that does not open says what to do, by whatever verb.
func TestOpening(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	st, err := store.Open(damaged, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(damaged, 3*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"stats", "check", "salvage", "import", "send"} {
		for path, want := range map[string]struct {
			code int
			text string
		}{
			dir:     {exitUsage, dir + " is a directory"},
			damaged: {exitFailed, "outbox salvage " + damaged + " copies what can be read"},
		} {
			args := []string{verb, path}
			if verb == "send" {
				args = []string{verb, "--to", "http://localhost", "--db", path}
			}
			if verb == "check" && path == damaged {
				want.code = exitUnhealthy
			}
			if verb == "salvage" && path == damaged {
				continue
			}
			out, errs, code := call(t, args...)
			if code != want.code || out != "" || !strings.Contains(errs, want.text) {
				t.Errorf("%v: exit %d: %s%s", args, code, out, errs)
			}
		}
	}
	if err := opening("x.db", &fs.PathError{Op: "open", Path: "x.db", Err: fs.ErrPermission}); codeOf(err) != exitNotAllowed || !strings.Contains(err.Error(), "the user who may write the file") {
		t.Errorf("exit %d: %v", codeOf(err), err)
	}
}

// An ID that is too short names some of those that begin with it, and counts the others.
func TestManyIDs(t *testing.T) {
	path := fixture(t)
	var text strings.Builder
	for n := range 30 {
		fmt.Fprintf(&text, "{\"id\":\"abcdabcd-0000-7000-8000-%012d\",\"payload\":\"\"}\n", n)
	}
	if out, errs, code := callWith(t, text.String(), "import", path); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	_, errs, code := call(t, "show", path, "abcdabcd")
	if code != exitUsage || !strings.Contains(errs, "the IDs of 30 events begin with abcdabcd") || !strings.HasSuffix(errs, "\n  abcdabcd-0000-7000-8000-000000000009\n  … and 20 more\n") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
