package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// TestMain takes the credentials in the environment of the tests out of the way.
func TestMain(m *testing.M) {
	for _, name := range []string{"SITE_ID", "TRACK_API_KEY", "APP_API_KEY", "REGION", "TRACK_URL", "APP_URL"} {
		os.Unsetenv("CUSTOMERIO_" + name)
	}
	os.Exit(m.Run())
}

// try runs the program and returns its standard error; last is a pattern of the whole last line.
func try(t *testing.T, status int, last, stdin string, args ...string) string {
	t.Helper()
	var out, err bytes.Buffer
	got := run(t.Context(), args, strings.NewReader(stdin), &out, &err)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if line := lines[len(lines)-1]; got != status || !regexp.MustCompile("^(?:"+last+")$").MatchString(line) {
		t.Errorf("status %d, last line %q, want %d and %s\n%s", got, line, status, last, err.String())
	}
	return err.String()
}

func TestSample(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	try(t, success, `put=2000 received=2000 unique=2000 duplicates=0 order_violations=0 fullest_second=\d+ refused_for_rate=0`, "")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// lines are n operations of 97 customers. A batch has one operation of each at most, so that fewer customers
// would make a run of a thousand lines long.
func lines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"op":"track","id":"c%d","name":"seen","data":{"n":%d},"timestamp":%d}`+"\n", i%97, i, 1700000000+i)
	}
	return b.String()
}

// A second run puts no line twice, and those that were added; an input that has changed is refused.
func TestSecondRun(t *testing.T) {
	db := filepath.Join(t.TempDir(), "c.db")
	try(t, success, `put=1200 received=1200 unique=1200 .*`, lines(1200), "-in", "-", "-db", db)
	try(t, success, `put=1200 received=0 .*`, lines(1200), "-in", "-", "-db", db)
	try(t, success, `put=1210 received=10 unique=10 .*`, lines(1210), "-in", "-", "-db", db)
	changed := strings.Replace(lines(1210), `"n":5}`, `"n":6}`, 1)
	if err := try(t, failure, `put=1210 received=0 .*`, changed, "-in", "-", "-db", db); !strings.Contains(err, "first 1210 lines have changed") {
		t.Error(err)
	}
	if err := try(t, failure, `put=1210 received=0 .*`, lines(7), "-in", "-", "-db", db); !strings.Contains(err, "7 lines, 1210 were put before") {
		t.Error(err)
	}
}

// Lines that are not acceptable are named and skipped; every op arrives.
func TestLines(t *testing.T) {
	in := "\ufeff" + `{"op":"identify","id":"a@example.org","attributes":{"n":12345678901234567890}}` + "\r\n" +
		`{"op":"track","id":"1","name":"x"}` + "\n\n" + `{"op":"page","id":"1","name":"x"}` + "\n" + `{"op":"screen","id":"1","name":"x"}` + "\n" +
		`{"op":"suppress","id":"1"}` + "\n" + `{"op":"unsuppress","id":"1"}` + "\n" + `{"op":"delete","id":"1"}`
	bad := []string{"{", `{"op":"hush","id":"1"}`, `{"op":"track","id":"1"}`, `{"op":"track","name":"x"}`, `{"op":"delete","id":"1"} 7`,
		`{"op":"track","id":"1","name":"x","data":{},"attributes":{}}`, `{"op":"track","id":"1","name":"x","timestamp":1700000000000}`, `[]`}
	err := try(t, success, `put=7 received=7 unique=7 .*`, in+"\n"+strings.Join(bad, "\n"), "-in", "-")
	for n := range bad {
		if !strings.Contains(err, fmt.Sprintf("line %d is skipped", 9+n)) {
			t.Errorf("line %d is not told:\n%s", 9+n, err)
		}
	}
	if strings.Contains(err, "hush") || !strings.Contains(err, fmt.Sprint(len(bad), " lines were skipped")) {
		t.Error(err)
	}
}

// With credentials in the environment the operations go where it says.
func TestEnvironment(t *testing.T) {
	s := customeriotest.NewServer(nil)
	defer s.Close()
	t.Setenv("CUSTOMERIO_SITE_ID", "site")
	t.Setenv("CUSTOMERIO_TRACK_API_KEY", "track-key")
	t.Setenv("CUSTOMERIO_TRACK_URL", s.URL())
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	file := filepath.Join(t.TempDir(), "in.ndjson")
	if err := os.WriteFile(file, []byte(lines(30)), 0o600); err != nil {
		t.Fatal(err)
	}
	try(t, success, `put=30 delivered=30`, "", "-in", file, "-rate", "40")
	if v := s.Verdict(); v.Unique != 30 {
		t.Error(v)
	}
	s.SetFaults(customeriotest.Faults{Refuse: func(customeriotest.Operation) *customeriotest.Refusal {
		return &customeriotest.Refusal{Reason: "invalid", Field: "name", Message: "is not liked"}
	}})
	if err := try(t, failure, "put=1 delivered=0", lines(1), "-in", "-"); !strings.Contains(err, "invalid, field name, is not liked") ||
		!strings.Contains(err, "1 are dead") || !strings.Contains(err, "the outbox is kept in "+dir) {
		t.Error(err)
	}
	t.Setenv("CUSTOMERIO_REGION", "asia")
	try(t, failure, "", "")
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{"-nothing"}, {"file"}, {"-rate", "-1"}, {"-rate", "x"}} {
		if got := run(t.Context(), args, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)); got != misuse {
			t.Errorf("%q: status %d", args, got)
		}
	}
	try(t, success, "", "", "-h")
	try(t, failure, "", "", "-in", filepath.Join(t.TempDir(), "nowhere"))
}
