package acceptance

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Each package for users says what it is for, each exported name has a comment, and each example has
// output, so that it runs.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	checked := 0
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
		d, err := doc.NewFromFiles(set, files, module+"/"+pkg)
		if err != nil {
			t.Fatal(err)
		}
		if checked++; !strings.HasPrefix(d.Doc, "Package ") {
			t.Errorf("package %q does not begin with what it is for: %q", pkg, d.Doc)
		}
		missing := func(name, text string) {
			if strings.TrimSpace(text) == "" {
				t.Errorf("package %q: %s has no comment", pkg, name)
			}
		}
		functions := func(of string, fs []*doc.Func) {
			for _, f := range fs {
				missing(of+f.Name, f.Doc)
			}
		}
		functions("", d.Funcs)
		for _, typ := range d.Types {
			missing(typ.Name, typ.Doc)
			functions("", typ.Funcs)
			functions(typ.Name+".", typ.Methods)
		}
		for _, e := range doc.Examples(files...) {
			if e.Output == "" && !e.EmptyOutput {
				t.Errorf("package %q: Example%s has no output, so it does not run", pkg, e.Name)
			}
		}
	}
	if checked < 8 {
		t.Errorf("%d packages were checked", checked)
	}
}
