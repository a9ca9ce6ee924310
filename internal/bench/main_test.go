package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The children that a run starts are this binary.
func TestMain(m *testing.M) {
	if isChild() {
		return
	}
	os.Exit(m.Run())
}

// A quick run measures every row of every suite, and leaves nothing behind but its reports.
func TestQuick(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	md, samples, svg := filepath.Join(dir, "md"), filepath.Join(dir, "json"), filepath.Join(dir, "svg")
	var log bytes.Buffer
	if err := command(t.Context(), []string{"-quick", "-dir", data, "-md", md, "-json", samples, "-svg", svg}, io.Discard, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}

	var all struct{ Samples results }
	text := read(t, samples)
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	tables := string(read(t, md))
	for _, s := range suites() {
		if !strings.Contains(tables, "\n## "+s.title+"\n") {
			t.Errorf("no table of %s", s.name)
		}
		for _, c := range s.cells(scale{quick: true}) {
			found := false
			for _, x := range all.Samples {
				found = found || x.Suite == s.name && x.Group == c.Group && x.Name == c.Name && len(x.Metrics) > 0
			}
			if !found {
				t.Errorf("nothing measured of %s, %s, %s", s.name, c.Group, c.Name)
			}
		}
	}
	d := xml.NewDecoder(bytes.NewReader(read(t, svg)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
