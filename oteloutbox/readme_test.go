package oteloutbox_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/sender"
)

var _ = func(t sender.Transport) error {
	o := &outbox.Options{Limiter: limiter.Within(100, time.Second)}
	t = oteloutbox.Instrument(o, t, "mail", nil)
	b, err := outbox.Open("events.db", t, o)
	if err != nil {
		return err
	}
	stop, err := oteloutbox.Measure(map[string]*outbox.Outbox{"mail": b}, nil)
	if err != nil {
		return err
	}
	defer stop()
	return nil
}

// The Go block of the README is part of a Go file, so it compiles.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("readme_test.go")
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
			t.Errorf("readme_test.go does not have\n%s", b)
		}
	}
}
