package acceptance

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// public returns the documentation of each package for users, by its path in the module.
func public(t *testing.T) map[string]*doc.Package {
	t.Helper()
	found := make(map[string]*doc.Package)
	for pkg := range imports(t) {
		if strings.Contains("/"+pkg+"/", "/internal/") || strings.HasPrefix(pkg, "examples/") {
			continue
		}
		set := token.NewFileSet()
		var files []*ast.File
		names, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		if found[pkg], err = doc.NewFromFiles(set, files, module+"/"+pkg); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// Each package for users says what it is for and what to beware of, each exported name has a comment, and
// each package has an example. Each example has output, so that it runs.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	checked, ran := 0, 0
	for pkg, d := range public(t) {
		if checked++; !strings.HasPrefix(d.Doc, "Package ") {
			t.Errorf("package %q does not begin with what it is for: %q", pkg, d.Doc)
		}
		if !strings.Contains(d.Doc, "\n# Caveats\n") {
			t.Errorf("package %q has no Caveats", pkg)
		}
		missing := func(name, text string) {
			if strings.TrimSpace(text) == "" {
				t.Errorf("package %q: %s has no comment", pkg, name)
			}
		}
		examples := d.Examples
		functions := func(of string, fs []*doc.Func) {
			for _, f := range fs {
				missing(of+f.Name, f.Doc)
				examples = append(examples, f.Examples...)
			}
		}
		functions("", d.Funcs)
		for _, typ := range d.Types {
			missing(typ.Name, typ.Doc)
			examples = append(examples, typ.Examples...)
			functions("", typ.Funcs)
			functions(typ.Name+".", typ.Methods)
		}
		if len(examples) == 0 {
			t.Errorf("package %q has no example", pkg)
		}
		for _, e := range examples {
			if ran++; e.Output == "" && !e.EmptyOutput {
				t.Errorf("package %q: Example%s has no output, so it does not run", pkg, e.Name)
			}
		}
	}
	if checked < 8 || ran < 8 {
		t.Errorf("%d packages and %d examples were checked", checked, ran)
	}
}

// Each name that a document gives with its package, such as `store.In`, is there. The changelog tells
// of names that were.
func TestNamesInDocumentsExist(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool) // "store.In", "store.Options.Mode"
	packages := make(map[string]bool)
	for _, d := range public(t) {
		packages[d.Name] = true
		values := func(vs []*doc.Value) {
			for _, v := range vs {
				for _, name := range v.Names {
					names[d.Name+"."+name] = true
				}
			}
		}
		functions := func(of string, fs []*doc.Func) {
			for _, f := range fs {
				names[of+"."+f.Name] = true
			}
		}
		values(d.Consts)
		values(d.Vars)
		functions(d.Name, d.Funcs)
		for _, typ := range d.Types {
			of := d.Name + "." + typ.Name
			names[of] = true
			values(typ.Consts)
			values(typ.Vars)
			functions(d.Name, typ.Funcs)
			functions(of, typ.Methods)
			for _, spec := range typ.Decl.Specs {
				ast.Inspect(spec, func(n ast.Node) bool {
					if field, ok := n.(*ast.Field); ok {
						for _, name := range field.Names {
							names[of+"."+name.Name] = true
						}
					}
					return true
				})
			}
		}
	}
	for name, text := range documents(t) {
		if name == "CHANGELOG.md" {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
			of, _, _ := strings.Cut(m[1], ".")
			if packages[of] && !names[m[1]] {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}

// quoted matches a name with its package at the beginning of a piece of code.
var quoted = regexp.MustCompile("`[&*]?([a-z]+\\.[A-Z]\\w*(?:\\.[A-Z]\\w*)?)")
