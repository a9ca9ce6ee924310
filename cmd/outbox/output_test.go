package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// full is a file on a disk that is full.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// What could not be written was not told: a script must not take an empty file for an empty list.
func TestOutputThatIsLost(t *testing.T) {
	for _, args := range [][]string{
		{"stats"}, {"stats", "--json"}, {"list"}, {"list", "--json"}, {"dead"}, {"show", "00000005"}, {"show", "--json", "00000005"},
		{"explain", "00000005"}, {"check"}, {"check", "--json"}, {"export"}, {"pause"}, {"revive", "00000001", "--dry-run"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			path := fixture(t)
			var errs bytes.Buffer
			code := run(t.Context(), append([]string{args[0], path}, args[1:]...), strings.NewReader(""), full{}, &errs)
			if code != exitFailed || strings.Count(errs.String(), "no space left") != 1 {
				t.Errorf("exit %d: %s", code, &errs)
			}
		})
	}
}

// A header that no request can have is wrong usage: else each line would fail, and wait for ever.
func TestSendHeaders(t *testing.T) {
	d := newDestination(t, nil)
	for name, c := range map[string]struct {
		token string
		args  []string
	}{
		"token":     {"tok\nen", []string{"--auth-env", "EDGE_TOKEN"}},
		"id header": {"", []string{"--id-header", "Idempotency Key"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("EDGE_TOKEN", c.token)
			var out, errs bytes.Buffer
			args := append([]string{"send", "--to", d.URL, "--db", t.TempDir() + "/s.db", "--for", "100ms"}, c.args...)
			if code := run(t.Context(), args, strings.NewReader("a line\n"), &out, &errs); code != exitUsage || strings.Contains(errs.String(), "tok") && c.token != "" && strings.Contains(errs.String(), "tok\\x0aen") {
				t.Errorf("exit %d: %s", code, &errs)
			}
		})
	}
}
