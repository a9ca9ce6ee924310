package acceptance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// logCall says where the message and the level stand among the arguments of a method of slog.Logger.
type logCall struct {
	level   string // "": the argument before the message
	message int
}

var logCalls = map[string]logCall{
	"Debug": {"DEBUG", 0}, "Info": {"INFO", 0}, "Warn": {"WARN", 0}, "Error": {"ERROR", 0},
	"DebugContext": {"DEBUG", 1}, "InfoContext": {"INFO", 1}, "WarnContext": {"WARN", 1}, "ErrorContext": {"ERROR", 1},
	"Log": {"", 2}, "LogAttrs": {"", 2},
}

// logMessage is a message that the code writes.
type logMessage struct {
	level string // "": the code computes it
	keys  []string
}

// logMessages returns the messages that a file gives to slog. The message must be a literal, or nobody
// finds it, in the source or in the list.
func logMessages(t *testing.T, set *token.FileSet, f *ast.File) map[string]logMessage {
	t.Helper()
	imported := make(map[string]bool)
	for _, i := range f.Imports {
		name, _ := strconv.Unquote(i.Path.Value)
		imported[path.Base(name)] = true
	}
	found := make(map[string]logMessage)
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		kind, ok := logCalls[method.Sel.Name]
		if !ok || len(call.Args) <= kind.message {
			return true
		}
		switch of := method.X.(type) {
		case *ast.Ident: // t.Error, http.Error, math.Log
			if of.Name == "t" || imported[of.Name] && of.Name != "slog" {
				return true
			}
		case *ast.SelectorExpr:
			if of.Sel.Name == "t" { // v.t.Error
				return true
			}
		}
		text, ok := literal(call.Args[kind.message])
		if !ok {
			t.Errorf("%s: the message of a log line must be a literal", set.Position(call.Pos()))
			return true
		}
		m := logMessage{level: kind.level}
		if level, ok := call.Args[max(kind.message-1, 0)].(*ast.SelectorExpr); ok && kind.level == "" {
			if name, ok := strings.CutPrefix(level.Sel.Name, "Level"); ok {
				m.level = strings.ToUpper(name)
			}
		}
		for i := kind.message + 1; i < len(call.Args); i += 2 {
			if key, ok := literal(call.Args[i]); ok {
				m.keys = append(m.keys, key)
			}
		}
		found[text] = m
		return true
	})
	return found
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(lit.Value)
	return text, err == nil
}

// logRow matches a line of a table of docs/logs.md: message, levels, the rest.
var logRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([A-Z, ]+) \\| (.*)$")

// docs/logs.md lists each message that the library logs, with its level and its attributes, and no
// other. Examples are not the library.
func TestLogMessagesAreListed(t *testing.T) {
	t.Parallel()
	written := make(map[string]logMessage)
	if err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "examples" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err == nil {
			maps.Copy(written, logMessages(t, set, f))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs/logs.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, row := range logRow.FindAllStringSubmatch(string(text), -1) {
		message, levels, rest := row[1], row[2], row[3]
		m, ok := written[message]
		switch {
		case !ok:
			t.Errorf("docs/logs.md has a message that no code writes: %q", message)
		case listed[message]:
			t.Errorf("docs/logs.md has a message twice: %q", message)
		case m.level != "" && m.level != levels:
			t.Errorf("%q is of level %s, and docs/logs.md says %s", message, m.level, levels)
		}
		listed[message] = true
		for _, key := range m.keys {
			if !strings.Contains(rest, "`"+key+"`") {
				t.Errorf("docs/logs.md does not name the attribute %s of %q", key, message)
			}
		}
	}
	for _, message := range slices.Sorted(maps.Keys(written)) {
		if !listed[message] {
			t.Errorf("docs/logs.md lacks %q", message)
		}
	}
	if len(listed) < 20 {
		t.Errorf("docs/logs.md lists %d messages only", len(listed))
	}
}

// The test above finds messages in any package, and a message that is put together is an error.
func TestLogMessagesAreFound(t *testing.T) {
	t.Parallel()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "f.go", `package p
import ("math"; "net/http"; "log/slog")
func f() {
	math.Log(2)
	http.Error(w, "no", 500)
	t.Error("no")
	v.t.Error("no")
	a.Info()
	x.y.Info("one", "k", 1, "l", 2)
	log.Error("two")
	slog.WarnContext(ctx, "three")
	g().LogAttrs(ctx, slog.LevelDebug, "four", attrs...)
	x.Log(ctx, level, "five")
}`, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := logMessages(t, set, f)
	want := map[string]logMessage{"one": {"INFO", []string{"k", "l"}}, "two": {level: "ERROR"}, "three": {level: "WARN"}, "four": {level: "DEBUG"}, "five": {}}
	if !maps.EqualFunc(got, want, func(a, b logMessage) bool { return a.level == b.level && slices.Equal(a.keys, b.keys) }) {
		t.Errorf("found %v, expected %v", got, want)
	}
}
