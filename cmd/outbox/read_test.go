package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each verb that reads says the same of a stopped file, over http and over a socket.
func TestReading(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			for _, test := range []struct {
				name string
				args []string
			}{
				{"stats", []string{"stats"}},
				{"list", []string{"list"}},
				{"list-retrying", []string{"list", "--state", "retrying", "--kind", "ev*"}},
				{"list-json", []string{"list", "--state", "scheduled", "--json"}},
				{"dead", []string{"dead"}},
				{"show", []string{"show", "00000001"}},
				{"show-payload", []string{"show", "00000002", "--payload"}},
				{"show-json", []string{"show", "00000001", "--json"}},
				{"show-payload-json", []string{"show", "00000001", "--json", "--payload"}},
				{"explain-behind", []string{"explain", "00000004"}},
				{"explain-dead", []string{"explain", id(1).String()}},
				{"explain-json", []string{"explain", "00000006", "--json"}},
			} {
				args := append([]string{test.args[0], target}, test.args[1:]...)
				out, errs, code := call(t, args...)
				if code != 0 {
					t.Errorf("%v: exit %d: %s", test.args, code, errs)
				}
				out = still(out)
				if how == "file" {
					out = strings.Replace(out, "stopped", "storing", 1)
					out = strings.Replace(out, "No program has the file open", "The outbox has no transport: it only stores", 1)
				}
				golden(t, test.name, out)
				if strings.ContainsAny(out, "\x1b\x07") || strings.Contains(out, "\u202e") {
					t.Errorf("%v: the output has control characters: %q", test.args, out)
				}
			}
		})
	}
}

// stats --json is the document of the monitor, and --lane leaves one lane in it.
func TestStatsJSON(t *testing.T) {
	target := fixture(t)
	for _, args := range [][]string{{"stats", target, "--json"}, {"stats", target, "--json", "--lane", "outbox"}} {
		out, errs, code := call(t, args...)
		var doc struct {
			V     int
			Lanes []struct {
				Name          string
				Pending, Dead int
			}
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || code != 0 || errs != "" {
			t.Fatalf("exit %d, %v: %s%s", code, err, out, errs)
		}
		if doc.V != 1 || len(doc.Lanes) != 1 || doc.Lanes[0].Name != "outbox" || doc.Lanes[0].Pending != 4 || doc.Lanes[0].Dead != 2 {
			t.Errorf("%+v", doc)
		}
	}
	if _, errs, code := call(t, "stats", target, "--lane", "mail"); code != exitNotFound {
		t.Errorf("a lane that is not there: exit %d: %s", code, errs)
	}
}

// With limits, stats is a probe.
func TestStatsLimits(t *testing.T) {
	target := fixture(t)
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--max-dead", "2"}, exitDone, ""},
		{[]string{"--max-dead", "1"}, exitUnhealthy, "lane outbox: 2 dead events, at most 1"},
		{[]string{"--max-age", "100h", "--max-held", "0s"}, exitDone, ""},
		{[]string{"--max-age", "0s"}, exitUnhealthy, "the oldest event waits for"},
	} {
		out, errs, code := call(t, append([]string{"stats", target}, test.args...)...)
		if code != test.code || !strings.Contains(errs, test.says) || !strings.HasPrefix(out, "LANE") {
			t.Errorf("%v: exit %d, %q on stderr", test.args, code, errs)
		}
	}
}

// A list says how far it looked, and goes on from there.
func TestListGoesOn(t *testing.T) {
	target := fixture(t)
	out, errs, code := call(t, "dead", target, "--limit", "1", "--json")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, id(1).String()) || !strings.Contains(errs, "Looked at 1 of 2. To go on: --after ") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	_, after, _ := strings.Cut(strings.TrimSpace(errs), "--after ")
	out, errs, code = call(t, "dead", target, "--after", after, "--json")
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, id(2).String()) || strings.Contains(errs, "--after") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if out, errs, code = call(t, "list", target, "--key", "nobody"); code != exitNotFound || out != "" || errs != "Looked at 2 of 2.\n" {
		t.Errorf("nothing found: exit %d: %q %q", code, out, errs)
	}
}

// What cannot be named is told by exit code.
func TestNames(t *testing.T) {
	target := fixture(t)
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"show", target, "0000000"}, exitUsage},
		{[]string{"show", target, "99999999"}, exitNotFound},
		{[]string{"show", target, id(9).String()}, exitNotFound},
		{[]string{"show", target, id(5).String()}, exitDone},
		{[]string{"show", target}, exitUsage},
		{[]string{"show", target, "1", "2"}, exitUsage},
		{[]string{"shew", target}, exitUsage},
		{[]string{"stats", target, "--colour"}, exitUsage},
		{[]string{"stats"}, exitUsage},
		{[]string{"list", target, "--state", "alive"}, exitUsage},
		{[]string{"list", target, "--limit", "-1"}, exitUsage},
		{[]string{"stats", filepath.Join(t.TempDir(), "none.db")}, exitNotFound},
		{[]string{"stats", t.TempDir()}, exitUsage},
		{[]string{"stats", "https://"}, exitUsage},
		{[]string{"stats", "unix:" + filepath.Join(t.TempDir(), "none")}, exitInUse},
		{[]string{"--help"}, exitDone},
	} {
		if _, errs, code := call(t, test.args...); code != test.code {
			t.Errorf("%v: exit %d, %d expected: %s", test.args, code, test.code, errs)
		} else if code != exitDone && errs == "" {
			t.Errorf("%v: no word on stderr", test.args)
		}
	}
	t.Setenv(environment, target)
	want(t, 0, "1 of 1 event would be revived.\n", "revive", "00000001", "--dry-run")
	if _, errs, code := call(t, "show", "00000001"); code != 0 {
		t.Errorf("with the target in the environment: exit %d: %s", code, errs)
	}
}

// Reading makes no file and no lane.
func TestNothingIsMade(t *testing.T) {
	dir := t.TempDir()
	call(t, "stats", filepath.Join(dir, "none.db"))
	call(t, "send", "--help")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}
