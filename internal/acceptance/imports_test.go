package acceptance

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/seed8107221f/outbox"
	root   = "../.." // of the module, from here
)

// mayImport says which packages of this module each package may import, tests excluded. "" is
// package outbox. A name with "/..." covers the packages below it, unless they have a line of their
// own.
var mayImport = map[string][]string{
	"":                        {"internal/errtext", "internal/lane", "internal/lifecycle", "store", "sender"},
	"customerio":              {"", "store", "sender", "sender/httpsend", "limiter"},
	"customerio/...":          {"internal/manners"}, // the stand-in shares nothing with what it tests
	"outboxtest":              {"", "store", "sender", "internal/manners", "internal/fault"},
	"internal/fault":          {},
	"internal/manners":        {},
	"store":                   {"internal/order", "store/internal/boltfile", "store/internal/format", "sender"},
	"store/salvage":           {"store/internal/boltfile", "store/internal/format", "store/internal/pages", "sender"},
	"store/internal/boltfile": {"store/internal/pages", "internal/fault"},
	"store/internal/format":   {"store/internal/pages", "sender"},
	"store/internal/pages":    {},
	// What the tests of several packages need; only tests import them.
	"store/internal/pages/pagestest": {"store/internal/pages"},
	"store/internal/storetest":       {"internal/campaign", "store/internal/pages/pagestest", "sender"},
	"internal/order":                 {},
	"internal/campaign":              {},
	"internal/loopback":              {},
	"internal/errtext":               {"sender"},
	"internal/lane":                  {"internal/errtext", "internal/lifecycle", "sender"},
	"internal/lifecycle":             {"sender"},
	"internal/acceptance/...":        {"", "store", "sender", "sender/httpsend", "limiter", "internal/loopback", "outboxtest"},
	"limiter/...":                    {},
	"monitor":                        {"", "sender"},
	"sender":                         {},
	"sender/...":                     {"sender"},
	"examples/...":                   {"", "customerio", "customerio/customeriotest", "store", "store/salvage", "sender", "sender/httpsend", "limiter", "outboxtest"},
}

// mayUseBbolt lists the packages that may import bbolt.
var mayUseBbolt = []string{"", "store", "store/salvage", "store/internal/boltfile", "store/internal/format", "store/internal/storetest", "examples/strict"}

// line finds the line of the table for a package.
func line(pkg string) (name string, allowed []string, found bool) {
	if allowed, found = mayImport[pkg]; found {
		return pkg, allowed, true
	}
	for above := pkg; ; above = path.Dir(above) {
		if allowed, found = mayImport[above+"/..."]; found || above == "." {
			return above + "/...", allowed, found
		}
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool) // lines of the table
	for pkg, imported := range imports(t) {
		name, allowed, found := line(pkg)
		if !found {
			t.Errorf("package %q has no line in the table", pkg)
		}
		used[name] = true
		for _, p := range imported {
			ours, inModule := strings.CutPrefix(p+"/", module+"/")
			ours = strings.TrimSuffix(ours, "/")
			if inModule && !slices.Contains(allowed, ours) {
				t.Errorf("package %q imports %q", pkg, ours)
			}
			if strings.HasPrefix(p, "go.etcd.io/bbolt") && !slices.Contains(mayUseBbolt, pkg) {
				t.Errorf("package %q imports %s", pkg, p)
			}
		}
	}
	for name := range mayImport {
		if !used[name] {
			t.Errorf("line %q of the table: there is no such package", name)
		}
	}
}

// imports returns what the packages of this module import, tests excluded, by the path of the
// package in the module. Nested modules do not belong to it.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	if err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if file != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || exists(filepath.Join(file, "go.mod"))) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := strings.TrimPrefix(filepath.ToSlash(dir), ".")
		found[pkg] = append(found[pkg], "") // a package without imports is one too
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			found[pkg] = append(found[pkg], p)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRequirements(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var direct []string
	inRequire := false
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "require" && len(f) == 2:
			inRequire = true
		case f[0] == ")":
			inRequire = false
		case slices.Contains([]string{"replace", "exclude", "tool", "toolchain"}, f[0]):
			t.Errorf("go.mod has %q: it is the business of everyone who imports this module", strings.TrimSpace(line))
		case f[0] == "require":
			f = f[1:]
			fallthrough
		case inRequire:
			if !strings.Contains(line, "// indirect") {
				direct = append(direct, f[0])
			}
		}
	}
	slices.Sort(direct)
	if want := []string{"github.com/google/uuid", "github.com/jpillora/backoff", "go.etcd.io/bbolt", "golang.org/x/time"}; !slices.Equal(direct, want) {
		t.Errorf("go.mod requires %q, want %q", direct, want)
	}
}
