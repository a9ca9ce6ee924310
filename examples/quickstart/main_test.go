package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the program shows is what the README says that it shows, except for times, ports, and which
// of the first two requests is the first.
func TestOutput(t *testing.T) {
	if testing.Short() {
		t.Skip("two seconds of real time: not with -short")
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &out)

	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, found := strings.Cut(string(readme), "go run ./examples/quickstart\n```\n")
	_, shown, _ = strings.Cut(shown, "```\n")
	shown, _, _ = strings.Cut(shown, "```")
	if got, want := general(out.String()), general(shown); !found || !slices.Equal(got, want) {
		t.Errorf("the program shows %q, the README %q", got, want)
	}

	// The facts, which the lines above only hold one by one.
	at := func(text string) (line int, seconds float64) {
		t.Helper()
		lines := strings.Split(out.String(), "\n")
		line = slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, text) })
		if line < 0 {
			t.Fatalf("no line has %q", text)
		}
		seconds, err := strconv.ParseFloat(regexp.MustCompile(`[\d.]+`).FindString(lines[line]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return line, seconds
	}
	_, refused := at("429 Too Many Requests, retry after 2s")
	if _, next := at("delivered"); next-refused < 1.9 { // both are rounded
		t.Errorf("the next request is answered %.1fs after a 429 that asks for 2s", next-refused)
	}
	signup, _ := at("signup ann: delivered")
	if upgrade, _ := at("upgrade ann: delivered"); upgrade < signup {
		t.Error("the second event of ann is delivered before the first")
	}
}

// general returns the lines in order of the alphabet, without what differs between runs.
func general(text string) []string {
	text = regexp.MustCompile(`(?m)^ *\d+\.\ds`).ReplaceAllString(text, "0s")
	text = regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(text, "HOST")
	text = regexp.MustCompile(`\b(ann|ben):`).ReplaceAllString(text, "KEY:")
	return slices.Sorted(strings.Lines(text))
}
