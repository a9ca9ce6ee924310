package main

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// The help of each verb fits on a terminal of 80 columns and promises nothing that is not so.
func TestHelpFits(t *testing.T) {
	root := (&command{out: io.Discard, err: io.Discard}).root()
	verbs := []string{""}
	for _, v := range root.Commands() {
		verbs = append(verbs, v.Name())
	}
	for _, verb := range verbs {
		args := []string{verb, "--help"}
		if verb == "" {
			args = args[1:]
		}
		out, errs, code := call(t, args...)
		if code != 0 || errs != "" || !strings.Contains(out, "Usage:") {
			t.Errorf("%s: exit %d: %s", verb, code, errs)
		}
		for line := range strings.SplitSeq(out, "\n") {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Errorf("%s: %d columns: %s", verb, n, line)
			}
			if strings.Contains(line, "(default )") {
				t.Errorf("%s: a default without a value: %s", verb, line)
			}
		}
	}
	for verb, states := range map[string]string{
		"revive":  "which events: dead (default \"dead\")",
		"run-now": "which events: retrying or scheduled (default \"retrying\")",
		"drop":    "which events: ready, in-line, in-flight, retrying, scheduled or dead (default \"dead\")",
	} {
		out, _, _ := call(t, verb, "--help")
		if out = strings.Join(strings.Fields(out), " "); !strings.Contains(out, states) {
			t.Errorf("%s: %q is not in %s", verb, states, out)
		}
	}
	if _, errs, code := call(t, "help", "nonsense"); code != exitUsage || !strings.Contains(errs, "nonsense") {
		t.Errorf("help of what is no verb: exit %d: %s", code, errs)
	}
	if out, errs, code := call(t, "help", "stats"); code != 0 || !strings.Contains(out, "--max-age") {
		t.Errorf("help of stats: exit %d: %s", code, errs)
	}
}
