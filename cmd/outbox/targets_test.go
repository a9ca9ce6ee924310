package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/store"
)

// lanesFile makes a file with the lanes mail and track, and an event in each. The lane "outbox" of the
// file is not used.
func lanesFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.db")
	st, err := store.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{"mail", "track"} {
		lane, err := st.Lane(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := outbox.New(lane, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		put(t, b, outbox.Event{ID: id(n + 1), Kind: "event"})
		if err := errors.Join(b.Close(), lane.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Where there are several lanes, --lane is needed by what is about one.
func TestLanes(t *testing.T) {
	path := lanesFile(t)
	out, _, code := call(t, "stats", path)
	if code != 0 || !strings.Contains(out, "mail ") || !strings.Contains(out, "track ") || strings.Contains(out, "outbox") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	_, errs, code := call(t, "list", path)
	if code != exitUsage || !strings.Contains(errs, "several lanes: give one by --lane: mail, track") {
		t.Errorf("exit %d: %s", code, errs)
	}
	out, _, code = call(t, "list", path, "--lane", "track", "--json")
	if code != 0 || !strings.Contains(out, id(2).String()) || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
	want(t, 0, "Lane mail: every event is accounted for.\nLane track: every event is accounted for.\n", "check", path)
	export, _, _ := call(t, "export", path, "--lane", "track")
	if got, errs, code := callWith(t, export, "import", path, "--lane", "new"); code != exitNotFound {
		t.Errorf("into a lane that is not there: exit %d: %s%s", code, got, errs)
	}
	if got, errs, code := callWith(t, export, "import", path, "--lane", "new", "--create"); code != 0 || got != "1 event was put, 0 were there already.\n" {
		t.Errorf("into a new lane: exit %d: %s%s", code, got, errs)
	}
}

// --bucket opens a lane in an application's own database, and makes none.
func TestBucket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.In(db, "events", nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := outbox.New(st, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(1), Kind: "event"}, outbox.Event{ID: id(2), Kind: "event", Key: "ann"})
	if err := errors.Join(b.Close(), st.Close()); err != nil {
		t.Fatal(err)
	}
	want(t, exitInUse, "", "stats", path, "--bucket", "events")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	out, errs, code := call(t, "show", path, "--bucket", "events", "00000001")
	if code != 0 || !strings.HasPrefix(out, id(1).String()) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	says := func(code int, text string, args ...string) {
		t.Helper()
		if out, errs, c := call(t, args...); c != code || !strings.Contains(errs, text) {
			t.Errorf("%v: exit %d: %s%s", args, c, out, errs)
		}
	}
	says(exitNotFound, "no bucket \"none\"; --bucket gives a lane of it: events", "stats", path, "--bucket", "none")
	says(exitUsage, "not an outbox of a known format: no bucket \"outbox\"; --bucket gives a lane of it: events", "stats", path)
	says(exitUsage, "--bucket gives a lane of it: events", "send", "--to", "http://localhost", "--db", path)
	says(exitUsage, "the lane is in a database of an application", "compact", path, "--bucket", "events")
	says(exitFailed, "1 removed; their bytes stay in the file", "erase", path, "--bucket", "events", "--yes", "ann")
	says(exitFailed, "0 removed; their bytes stay in the file", "erase", path, "--bucket", "events", "--yes", "ann")
}

// A sealed file needs its key. A key that is not needed seals nothing.
func TestSealKey(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	dir := t.TempDir()
	raw, text, wrong := filepath.Join(dir, "raw"), filepath.Join(dir, "text"), filepath.Join(dir, "wrong")
	write(t, raw, string(key))
	write(t, text, hex.EncodeToString(key)+"\n")
	write(t, wrong, strings.Repeat("x", 32))
	sealer, err := store.AESGCM("k1", map[string][]byte{"k1": key})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sealed.db")
	b, err := outbox.Open(path, nil, &outbox.Options{Store: store.Options{Sealer: sealer}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, b, outbox.Event{ID: id(1), Kind: "secret-kind"})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := call(t, "list", path); code != exitFailed || !strings.Contains(errs, "--seal-key") {
		t.Errorf("without the key: exit %d: %s", code, errs)
	}
	for _, file := range []string{raw, text} {
		if out, errs, code := call(t, "list", path, "--seal-key", "k1="+file); code != 0 || !strings.Contains(out, "secret-kind") {
			t.Errorf("with the key: exit %d: %s%s", code, out, errs)
		}
	}
	if out, _, code := call(t, "list", path, "--seal-key", "k1="+wrong); strings.Contains(out, "secret-kind") {
		t.Errorf("with a wrong key: exit %d: %s", code, out)
	}
	want(t, exitUsage, "", "list", path, "--seal-key", "k1")
	want(t, exitUsage, "", "list", path, "--seal-key", "k1="+dir)

	plain := fixture(t)
	if _, errs, code := call(t, "pause", plain, "--seal-key", "k1="+raw); code != 0 {
		t.Errorf("a plain file: exit %d: %s", code, errs)
	}
	if _, errs, code := call(t, "list", plain); code != 0 {
		t.Errorf("the plain file was sealed: exit %d: %s", code, errs)
	}
}

// Completion offers verbs, lanes and IDs of the target.
func TestCompletion(t *testing.T) {
	path := fixture(t)
	for _, test := range []struct {
		args []string
		has  string
		not  string
	}{
		{[]string{"re"}, "revive\t", "drop"},
		{[]string{"list", path, "--lane", ""}, "outbox\n", ""},
		{[]string{"list", path, "--state", ""}, "retrying\n", ""},
		{[]string{"revive", path, "0000000"}, id(2).String() + "\tbad cust\\x1b[2Jomer\\u202e4", id(3).String()},
		{[]string{"show", path, "00000003"}, id(3).String(), id(2).String()},
		{[]string{"run-now", path, ""}, id(3).String(), id(1).String()},
	} {
		out, errs, code := call(t, append([]string{"__complete"}, test.args...)...)
		if code != 0 || !strings.Contains(out, test.has) || test.not != "" && strings.Contains(out, test.not) {
			t.Errorf("%v: exit %d: %q %q", test.args, code, out, errs)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, errs, code := call(t, "completion", shell); code != 0 || len(out) < 1000 {
			t.Errorf("%s: exit %d: %s", shell, code, errs)
		}
	}
}

// The target may stand in the environment, also beside IDs.
func TestEnvironment(t *testing.T) {
	path := fixture(t)
	other := fixture(t)
	t.Setenv(environment, path)
	for _, args := range [][]string{{"stats"}, {"dead"}, {"show", "00000001"}, {"explain", other, "00000004"}, {"erase", "customer-3", "--yes"}, {"revive", "00000001", "00000002"}, {"drop", other, "00000001", "--yes"}, {"revive", other, "--all", "--yes"}, {"export"}, {"check"}} {
		if _, errs, code := call(t, args...); code != 0 {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	out, _, _ := call(t, "list", other, "--json")
	if strings.Count(out, "\n") != 3 { // 4, 5, and 2, which was revived
		t.Errorf("the other file: %s", out)
	}
	if out, _, _ := call(t, "dead"); out != "" {
		t.Errorf("the file of the environment: %s", out)
	}
}

// Every verb says what it is for, and takes --json.
func TestHelp(t *testing.T) {
	c := &command{}
	for _, v := range c.root().Commands() {
		if v.Short == "" || strings.HasSuffix(v.Short, ".") {
			t.Errorf("%s: %q", v.Name(), v.Short)
		}
		out, _, code := call(t, v.Name(), "--help")
		if code != 0 || !strings.Contains(out, "--json") {
			t.Errorf("%s --help: exit %d: %s", v.Name(), code, out)
		}
	}
	text, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.root().Commands() {
		if !strings.Contains(string(text), fmt.Sprintf("`%s", v.Name())) {
			t.Errorf("docs/command.md does not name %s", v.Name())
		}
		v.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(string(text), "--"+f.Name) {
				t.Errorf("docs/command.md does not name --%s of %s", f.Name, v.Name())
			}
		})
	}
}

// A file may have been removed while its program goes on: then the program alone knows.
func TestFileRemoved(t *testing.T) {
	target := fixture(t)
	serveSocket(t, target, serve(t, target, everything))
	if err := os.Rename(target, target+".away"); err != nil {
		t.Fatal(err)
	}
	out, errs, code := call(t, "stats", target)
	if code != 0 || !strings.HasPrefix(out, "LANE") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if err := os.Rename(target+".away", target); err != nil {
		t.Fatal(err)
	}
}

// A verb about one event says what it lacks.
func TestNeedsID(t *testing.T) {
	target := fixture(t)
	for _, verb := range []string{"show", "explain", "edit"} {
		for _, env := range []string{"", target} {
			t.Setenv(environment, env)
			if _, errs, code := call(t, verb, target); code != exitUsage || !strings.Contains(errs, verb+" needs an ID") {
				t.Errorf("OUTBOX=%s: exit %d: %s", env, code, errs)
			}
		}
		if _, errs, code := call(t, verb, target, "1", "2"); code != exitUsage || !strings.Contains(errs, verb+" takes a target and one ID, not 3 arguments") {
			t.Errorf("exit %d: %s", code, errs)
		}
	}
}
