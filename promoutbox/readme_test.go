package promoutbox_test

import (
	"os"
	"strings"
	"testing"
)

// The Go block of the README is part of a Go file, so it compiles.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Error("the README has no Go block")
	}
	plain := strings.NewReplacer("\t", "")
	for _, b := range blocks {
		b, _, _ = strings.Cut(b, "```")
		if !strings.Contains(plain.Replace(string(source)), plain.Replace(b)) {
			t.Errorf("example_test.go does not have\n%s", b)
		}
	}
}
