package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/monitor"
)

// setEditor makes a shell script the editor. $1 is the file.
func setEditor(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nset -e\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", path)
}

// edit replaces the payload of a dead event and revives it, everywhere.
func TestEdit(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			payload := func(want string) {
				t.Helper()
				if out, errs, code := call(t, "show", target, "00000001", "--payload"); code != 0 || !strings.HasSuffix(out, "\n\n"+want+"\n") {
					t.Errorf("the payload is not %q: exit %d: %s%s", want, code, out, errs)
				}
			}
			setEditor(t, `echo >>"$1"`) // as vi ends the last line
			want(t, 0, "", "edit", target, "00000001")
			payload(`{"n":1}`)
			setEditor(t, `false`)
			want(t, exitFailed, "", "edit", target, "00000001")
			setEditor(t, `case "$1" in *.json) echo '{"n":2}' >"$1"; chatter=1; echo chatter;; esac`)
			want(t, 0, "1 event was edited.\n", "edit", target, "00000001", "--keep-dead")
			payload(`{"n":2}`)
			setEditor(t, `echo '{"n":3}' >"$1"`)
			if how == "file" { // which nobody holds while the editor runs
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				setEditor(t, fmt.Sprintf("%s=1 %s stats %s >/dev/null\necho '{\"n\":3}' >\"$1\"", childVariable, self, target))
			}
			want(t, 0, "{\"done\":1,\"passed_over\":0,\"v\":1}\n", "edit", target, "00000001", "--json")
			payload(`{"n":3}`)
			want(t, exitFailed, "", "edit", target, "00000001") // it is not dead any more
			want(t, exitFailed, "", "edit", target, "00000003")
			want(t, exitNotFound, "", "edit", target, "99999999")
		})
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "outbox-edit-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What another saved while the editor was open is not overwritten, and the text is not lost.
func TestEditOfTwo(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			target := reach(t, how)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			setEditor(t, `echo '{"n":"ann"}' >"$1"`)
			ann := os.Getenv("EDITOR")
			setEditor(t, fmt.Sprintf("EDITOR=%s %s=1 %s edit --keep-dead %s 00000001 >/dev/null\necho '{\"n\":\"ben\"}' >\"$1\"", ann, childVariable, self, target))
			out, errs, code := call(t, "edit", target, "00000001")
			if code != exitFailed || out != "" || !strings.Contains(errs, "edited since it was read") {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			if out, errs, code := call(t, "show", target, "00000001", "--payload"); code != 0 || !strings.HasSuffix(out, "\n\n{\"n\":\"ann\"}\n") {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			left, err := filepath.Glob(filepath.Join(os.TempDir(), "outbox-edit-*", "payload.json"))
			if err != nil || len(left) != 1 || !strings.Contains(errs, left[0]) {
				t.Fatalf("kept: %v, %v, and it says: %s", left, err, errs)
			}
			if text, err := os.ReadFile(left[0]); err != nil || string(text) != "{\"n\":\"ben\"}\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// Who may not read payloads may not edit, and without an editor nobody waits for one.
func TestEditRefused(t *testing.T) {
	path := fixture(t)
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "")
	want(t, exitUsage, "", "edit", path, "00000001")
	setEditor(t, `echo changed >"$1"`)
	server := httptest.NewServer(serve(t, path, func(*http.Request, string) monitor.Access { return monitor.Access{Read: true, Act: true} }))
	t.Cleanup(server.Close)
	want(t, exitNotAllowed, "", "edit", server.URL, "00000001")
}
