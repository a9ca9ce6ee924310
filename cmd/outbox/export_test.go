package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// An export says the same everywhere, and an import of it has the same events. It skips those that are
// there.
func TestExportAndImport(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			out, errs, code := call(t, "export", target)
			if code != 0 || errs != "6 events were written.\n" {
				t.Fatalf("exit %d: %s", code, errs)
			}
			golden(t, "export", still(out))
			if some, errs, code := call(t, "export", target, "--state", "dead", "--key", "customer-1"); code != 0 || strings.Count(some, "\n") != 1 {
				t.Errorf("of one key: exit %d: %s%s", code, some, errs)
			}

			into := filepath.Join(t.TempDir(), "into.db")
			if _, errs, code := callWith(t, out, "import", into); code != exitNotFound {
				t.Errorf("into no file: exit %d: %s", code, errs)
			}
			if got, errs, code := callWith(t, out, "import", into, "--create"); code != 0 || got != "6 events were put, 0 were there already.\n" {
				t.Fatalf("import: exit %d: %s%s", code, got, errs)
			}
			if got, errs, code := callWith(t, out, "import", into, "--json"); code != 0 || got != "{\"put\":0,\"skipped\":6,\"unreadable\":0,\"v\":1}\n" {
				t.Errorf("again: exit %d: %s%s", code, got, errs)
			}
			if three, four := strings.Index(out, id(3).String()), strings.Index(out, id(4).String()); three > four {
				t.Error("an event is before an earlier one of its key")
			}
			again, _, _ := call(t, "export", into)
			golden(t, "export-imported", still(again))
			want(t, 0, "Lane outbox: every event is accounted for.\n", "check", into)
		})
	}
}

// An import stops at a line that it cannot read, names it, and keeps what was before.
func TestImportStops(t *testing.T) {
	target := fixture(t)
	in := `{"id":"00000020-0000-7000-8000-000000000000","payload":"eA=="}` + "\n\n" + `{"id":"00000021-0000-7000-8000-000000000000","error":"damaged"}` + "\n" + `{"id":"21"}` + "\n"
	out, errs, code := callWith(t, in, "import", target)
	if code != exitFailed || out != "1 event was put, 0 were there already.\n" || !strings.Contains(errs, "line 3 has no payload") || !strings.Contains(errs, "line 4: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if _, errs, code := call(t, "show", target, "00000020"); code != 0 {
		t.Errorf("exit %d: %s", code, errs)
	}
	serve(t, target, everything)
	want(t, exitInUse, "", "import", target)
	want(t, exitUsage, "", "import", "https://example.org/")
}
