package order

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mutants are mistakes, each of which the other tests must notice. The texts to be replaced occur once.
var mutants = []struct{ name, file, old, new string }{
	{name: "none: the copy itself passes"},
	{"a key is not freed on success", "settle.go",
		"default:\n\t\to.nextOfKey(f.key)", "case what == Gone:\n\tdefault:\n\t\to.nextOfKey(f.key)"},
	{"a retry does not keep its key taken", "settle.go",
		"case what != Gone && found:", "case what == Released && found:"},
	{"a released item goes to the back of the turns", "settle.go",
		"o.front = append(o.front, turn{p.Seq, f.key})", "o.turns = append(o.turns, turn{p.Seq, f.key})"},
	{"a released item goes to the end of its line", "settle.go",
		"o.front = append(o.front, turn{p.Seq, f.key})",
		"if l, ok := o.taken[f.key]; ok {\n\tl.waiting = append(l.waiting, p.Seq)\n\to.taken[f.key] = l\n\to.inLine++\n\to.nextOfKey(f.key)\n} else {\n\to.front = append(o.front, turn{p.Seq, f.key})\n}"},
	{"the cursor is not reset by a rebuild", "order.go",
		"o.cursor, o.turns, o.front, o.inLine = 0, nil, nil, 0", "o.turns, o.front, o.inLine = nil, nil, 0"},
	{"memory changes before the commit", "settle.go",
		"f.settling = to != Sending", "if to == Gone {\n\to.nextOfKey(f.key)\n}\nf.settling = to != Sending"},
	{"memory changes before the commit of a retry", "settle.go",
		"f.settling = to != Sending", "if to == Retry {\n\tf.due = 1\n}\nf.settling = to != Sending"},
	{"dropping a failed head does not free its key", "settle.go",
		"} else if p.Due != 0 && o.taken[p.Key].head == p.Seq {", "} else if false {"},
	{"a repeated outcome counts twice", "settle.go",
		"\tif f == nil {\n\t\treturn false\n\t}\n\tahead", "\tif f == nil {\n\t\to.nextOfKey(p.Key)\n\t\treturn false\n\t}\n\tahead"},
	{"a repeated outcome is believed of another flight", "order.go",
		"f != nil && f.due == p.Due", "f != nil"},
	{"failed keys are not taken by a rebuild", "order.go",
		"\tfor p := range later {\n\t\to.take(p.Key, p.Seq)\n\t}", "\tfor range later {\n\t}"},
	{"keys in flight are not taken by a rebuild", "order.go",
		"\tfor seq, f := range o.flights {\n\t\to.take(f.key, seq)\n\t}", ""},
	{"a released item beyond the cursor has its turn too", "settle.go",
		"case what == Released && ahead:", "case false:"},
	{"a released item beyond the cursor keeps its key", "settle.go",
		"delete(o.taken, f.key)", ""},
	{"what was read ahead is not forgotten", "settle.go",
		"\to.settleFlight(p.Seq, f)\n\tswitch", "\to.settleFlight(p.Seq, f)\n\tdefer func() { ahead = false }()\n\tswitch"},
	{"a key's turn is given twice", "settle.go",
		"o.taken[p.Key].head == p.Seq {", "o.Taken(p.Key) {"},
	{"a turn is not used up", "order.go",
		"\to.turns = o.turns[1:]\n", "\tif len(o.turns) > 1 {\n\t\to.turns = o.turns[1:]\n\t}\n"},
	{"a line is lost when its head is released", "settle.go",
		"o.front = append(o.front, turn{p.Seq, f.key})",
		"o.front = append(o.front, turn{p.Seq, f.key})\nif l, ok := o.taken[f.key]; ok {\n\to.inLine -= len(l.waiting)\n\tl.waiting = nil\n\to.taken[f.key] = l\n}"},
	{"a waiting line is lost in a rebuild", "order.go",
		"o.cursor, o.turns, o.front, o.inLine = 0, nil, nil, 0",
		"for _, l := range o.taken {\n\tif n := len(l.waiting); n > 0 {\n\t\to.cursor = max(o.cursor, l.waiting[n-1])\n\t}\n}\no.turns, o.front, o.inLine = nil, nil, 0"},
	{"a turn whose item was dropped ends its key", "round.go",
		"\t\t\to.nextOfKey(t.key)\n", ""},
	{"an unanswered turn counts as dropped", "round.go",
		"if there || !ok {\n\t\t\t\treturn ok", "if there {\n\t\t\t\treturn ok"},
	{"an item in flight is met again in later", "round.go",
		"!r.order.InFlight(p.Seq) && (!taken || l.head == p.Seq)", "!taken || l.head == p.Seq"},
	{"an item in flight is met again in ready", "round.go",
		"!o.InFlight(p.Seq) && !r.join()", "!r.join()"},
	{"the second failed item of a key goes too", "round.go",
		"(!taken || l.head == p.Seq)", "(!taken || l.head != 0)"},
	{"the cursor does not stop", "round.go",
		"if o.inLine >= o.maxWaiting() {", "if false {"},
	{"a stopped cursor does not go on in the same round", "round.go",
		"r.exhausted[Ready] = false", "_ = r.exhausted"},
	{"the sources do not take turns", "round.go",
		"\tr.order.launch(r.at)\n\tr.order.rotate()\n", "\tr.order.launch(r.at)\n"},
	{"an item that is passed by is not a step", "round.go",
		"for ; r.steps > 0; r.steps-- {", "for r.steps > 0 {"},
	{"a withdrawn item stays in flight", "settle.go",
		"\t\to.settleFlight(seq, f)\n\t}\n\to.rebuilt = false", "\t}\n\to.rebuilt = false"},
	{"a withdrawal is not followed by a rebuild", "settle.go",
		"\t\to.settleFlight(seq, f)\n\t}\n\to.rebuilt = false", "\t\to.settleFlight(seq, f)\n\t}"},
	{"a stale order hands out", "round.go",
		"for r.order.rebuilt && !r.Spent()", "for !r.Spent()"},
	{"an outcome of Sending ends the flight", "settle.go",
		"\tif what == Sending {\n\t\to.moved(f, found)\n\t\treturn ahead\n\t}\n", ""},
	{"after an unknown outcome it is not asked what was sent", "order.go",
		"o.moved(f, sent(seq))", "_, _ = f, seq"},
	{"releasing what may be sent takes no commit", "settle.go",
		"len(o.taken[f.key].waiting) > 0, f.mayBeSent", "len(o.taken[f.key].waiting) > 0, false"},
}

// TestMutants tries each mistake in a copy of the package. All copies are built into one program, with their
// tests as ordinary code, since to link one for each takes longer than to run it.
func TestMutants(t *testing.T) {
	if !long() || testing.Short() {
		t.Skip("takes half a minute: OUTBOX_LONG=1 runs it")
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "mutants_test.go" })
	slices.Reverse(files) // the quick tests of order_test.go first
	var imports, tests strings.Builder
	for i, m := range mutants {
		fmt.Fprintf(&imports, "import \"mutants/m%02d\"\n", i)
		fmt.Fprintf(&tests, "func TestMutant%02d(t *testing.T) {\n", i)
		for _, f := range files {
			src, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text := string(src)
			if f == m.file {
				if n := strings.Count(text, m.old); n != 1 {
					t.Fatalf("%s: the text to be replaced occurs %d times in %s", m.name, n, f)
				}
				text = strings.Replace(text, m.old, m.new, 1)
			}
			for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text, -1) {
				fmt.Fprintf(&tests, "\tt.Run(%q, m%02d.%s)\n", name[1], i, name[1])
			}
			text = strings.Replace(text, "package order", fmt.Sprintf("package m%02d", i), 1)
			write(fmt.Sprintf("m%02d/%s", i, strings.ReplaceAll(f, "_test.go", "_tests.go")), text)
		}
		tests.WriteString("}\n")
	}
	write("go.mod", "module mutants\n\ngo 1.25.0\n")
	write("all_test.go", "package mutants\n\nimport \"testing\"\n"+imports.String()+tests.String())
	bin := filepath.Join(dir, "mutants.exe")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-o", bin)
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), bin, "-test.failfast", "-test.run", fmt.Sprintf("^TestMutant%02d$", i), "-test.timeout=60s")
			cmd.Env = append(os.Environ(), "OUTBOX_LONG=")
			out, err := cmd.CombinedOutput()
			switch {
			case m.file == "" && err != nil:
				t.Errorf("without a mistake: %v\n%s", err, out)
			case m.file != "" && err == nil:
				t.Error("no test notices it")
			case bytes.Contains(out, []byte("panic: test timed out")):
				t.Errorf("it hangs instead of failing:\n%s", out)
			}
			t.Logf("%.300s", out)
		})
	}
}
