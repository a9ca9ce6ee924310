package outbox_test

import (
	"context"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module   = "github.com/seed8107221f/outbox"
	database = "go.etcd.io/bbolt"
)

// TestMain lets no test reach beyond this machine.
func TestMain(m *testing.M) {
	local := func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("a test dialled %s %s, only loopback addresses are allowed", network, addr)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: local}
	http.DefaultTransport.(*http.Transport).DialContext = local
	http.DefaultTransport.(*http.Transport).Proxy = nil
	os.Exit(m.Run())
}

func TestTestsStayOnThisMachine(t *testing.T) {
	// An address for documentation (RFC 5737), and a name that nobody has (RFC 2606).
	for _, url := range []string{"http://192.0.2.1/", "http://outbox.invalid/"} {
		res, err := http.Get(url)
		if err == nil {
			res.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "only loopback addresses are allowed") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// imports returns what the packages of this module import, tests aside, by the path of the package.
// Nested modules are another matter.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	if err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if file != "." && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || exists(filepath.Join(file, "go.mod"))) {
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
		pkg := path.Join(module, filepath.ToSlash(filepath.Dir(file)))
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

func inside(pkg, root string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }

// client is what an application uses in the place of an outbox: it stands over several, and nothing
// imports it but applications.
const client = module + "/customerio"

func TestArrows(t *testing.T) {
	all := imports(t)
	for _, pkg := range []string{module, module + "/sender", module + "/store", module + "/limiter"} {
		if len(all[pkg]) == 0 {
			t.Fatalf("package %s was not found", pkg)
		}
	}
	for pkg, imported := range all {
		for _, p := range imported {
			wrong := false
			switch {
			case pkg == client:
				continue
			case inside(pkg, client):
				wrong = inside(p, module) // the stand-in shares nothing with what it tests
			case inside(pkg, module+"/limiter"):
				wrong = inside(p, module)
			case inside(pkg, module+"/sender"):
				wrong = inside(p, module) && !inside(p, module+"/sender") || inside(p, database)
			case inside(pkg, module+"/store"):
				wrong = inside(p, module) && !inside(p, module+"/sender") && !inside(p, module+"/store")
			}
			wrong = wrong || (p == module || p == client) && !inside(pkg, module+"/examples")
			if wrong {
				t.Errorf("%s imports %s", pkg, p)
			}
		}
	}
}

func TestRequirements(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
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
	if want := []string{"github.com/google/uuid", "github.com/jpillora/backoff", database, "golang.org/x/time"}; !slices.Equal(direct, want) {
		t.Errorf("go.mod requires %q, want %q", direct, want)
	}
}
