package main

import (
	"bytes"
	"context"
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

// try runs the program and returns what it printed; last is a pattern of the whole last line.
func try(t *testing.T, ctx context.Context, status int, last, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	got := run(ctx, args, strings.NewReader(stdin), &out, &err)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if line := lines[len(lines)-1]; got != status || !regexp.MustCompile("^(?:"+last+")$").MatchString(line) {
		t.Errorf("status %d, last line %q, want %d and %s\n%s", got, line, status, last, err.String())
	}
	return out.String(), err.String()
}

func TestTenThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of real time: not with -short")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	out, _ := try(t, t.Context(), success, `put=10000 received=10000 unique=10000 duplicates=0 fullest_second=\d+ refused_for_rate=0`, "")
	if !strings.Contains(out, "[####################] rows=10000 put=10000 delivered=10000 refused=0") {
		t.Errorf("no full bar:\n%s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A run that was interrupted is finished by the next one, and a third has nothing to do.
func TestResumes(t *testing.T) {
	n, args := 10_000, []string{"-db", filepath.Join(t.TempDir(), "i.db")}
	stdin := ""
	if testing.Short() {
		n, args = 500, append(args, "-in", "-")
		var b strings.Builder
		b.WriteString("id,plan\n")
		for i := range n {
			fmt.Fprintf(&b, "%d,basic\n", i)
		}
		stdin = b.String()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := try(t, ctx, failure, `put=0 received=0 .*`, stdin, args...)
	if !strings.Contains(err, "context canceled") {
		t.Error(err)
	}
	try(t, t.Context(), success, fmt.Sprintf(`put=%d received=%[1]d unique=%[1]d .*`, n), stdin, args...)
	try(t, t.Context(), success, fmt.Sprintf(`put=%d received=0 .*`, n), stdin, args...)
}

// Rows that are not acceptable, and those that the service refuses, are named, and are a failure.
func TestBadRows(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of real time: not with -short")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	_, err := try(t, t.Context(), failure, `put=2 received=2 .*`, "id,plan\n1,x\n,y\n1,z\n2,x\n", "-in", "-")
	for _, text := range []string{"line 3: ", "line 4: ", "2 of 4 rows were not put", "the outbox is kept in " + dir} {
		if !strings.Contains(err, text) {
			t.Errorf("no %q in:\n%s", text, err)
		}
	}
	s := customeriotest.NewServer(nil)
	defer s.Close()
	s.SetFaults(customeriotest.Faults{Refuse: func(o customeriotest.Operation) *customeriotest.Refusal {
		if o.Subject != "2" {
			return nil
		}
		return &customeriotest.Refusal{Reason: "invalid", Message: "is not liked"}
	}})
	t.Setenv("CUSTOMERIO_SITE_ID", "site")
	t.Setenv("CUSTOMERIO_TRACK_API_KEY", "track-key")
	t.Setenv("CUSTOMERIO_TRACK_URL", s.URL())
	file := filepath.Join(t.TempDir(), "people.csv")
	if err := os.WriteFile(file, []byte("id\n1\n2\n3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "i.db")
	_, err = try(t, t.Context(), failure, `put=3 delivered=2`, "", "-db", db, "-rate", "20", file)
	if !strings.Contains(err, "is not liked") || !strings.Contains(err, "1 rows were refused") {
		t.Error(err)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{"-nothing"}, {"a.csv", "b.csv"}, {"-in", "a.csv", "b.csv"}, {"-rate", "-1"}} {
		if got := run(t.Context(), args, strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer)); got != misuse {
			t.Errorf("%q: status %d", args, got)
		}
	}
	try(t, t.Context(), success, "", "", "-h")
	try(t, t.Context(), failure, "", "", filepath.Join(t.TempDir(), "nowhere.csv"))
}
