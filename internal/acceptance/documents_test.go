package acceptance

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// readmeFirst holds the first Go block of README.md.
func readmeFirst(ctx context.Context, url string) error {
	send := func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err)
		}
		req.Header.Set("Idempotency-Key", it.ID.String()) // the same on every attempt
		_, err = httpsend.Do(nil, req)                    // sends once and returns the verdict
		return err
	}
	b, err := outbox.Open("events.db", sender.TransportFunc(send), &outbox.Options{
		Limiter: limiter.Within(100, time.Second), // the destination allows 100 requests in any second
	})
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = b.Put(ctx, outbox.Event{Kind: "signup", Key: "ann", Payload: []byte(`{"plan":"basic"}`)})
	return err
}

// readmeCustomerIO holds the block of README.md for Customer.io.
func readmeCustomerIO(ctx context.Context, site string, key customerio.Secret) error {
	c, err := customerio.Open("customerio.db", &customerio.Options{SiteID: site, TrackKey: key}) // or FromEnv
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Identify(ctx, customerio.ID("17"), map[string]any{"plan": "basic"})
	return err
}

// customerioMeta holds the first blocks of docs/customerio.md.
func customerioMeta(ctx context.Context, c *customerio.Client, id uuid.UUID, at time.Time, who customerio.Identifiers, data, attributes map[string]any) (err error) {
	_, err = c.With(customerio.Meta{ID: id, Time: at}).Track(ctx, who, "bought", data)
	if err != nil {
		return err
	}
	err = c.Together(ctx, func(c *customerio.Client) error {
		_, err1 := c.Identify(ctx, who, attributes)
		_, err2 := c.Track(ctx, who, "signed up", nil)
		return errors.Join(err1, err2)
	})
	return err
}

// divided holds the first block of docs/scale.md.
func divided() (*outbox.Options, *customerio.Options) {
	o := &outbox.Options{Limiter: limiter.Within(25, time.Second)}
	c := &customerio.Options{Share: 0.25} // for package customerio
	return o, c
}

// These blocks of the documents only compile.
var _ = []any{customerioMeta, divided}

// The first block of README.md runs.
func TestReadme(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	t.Chdir(t.TempDir())
	if err := readmeFirst(t.Context(), server.URL); err != nil {
		t.Error(err)
	}
	if err := readmeCustomerIO(t.Context(), "", "key"); err == nil {
		t.Error("the client opened with half of its credentials")
	}
}

// transport posts to a URL by a client.
func transport(c *http.Client, url string) sender.Transport {
	return sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err)
		}
		_, err = httpsend.Do(c, req)
		return err
	})
}

// TestReadmeOutage holds the test in README.md.
func TestReadmeOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // hours pass at once
		v := outboxtest.NewReceiver(t, nil) // an HTTP server that judges as a vendor does
		v.Outage(3 * time.Hour)
		b := outboxtest.New(t, &outboxtest.Options{Transport: transport(v.Client(), v.URL)}) // yours
		b.Put(t.Context(), outbox.Event{Kind: "signup", Key: "ann"})
		if r := b.Drain(); len(r.Delivered) != 1 || len(r.Dead) != 0 {
			t.Errorf("%d delivered, %d dead after %v", len(r.Delivered), len(r.Dead), r.Took)
		}
	})
}

// documents returns the text of each document for users, by its path from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[strings.TrimPrefix(filepath.ToSlash(file), root+"/")] = string(text)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("found %d documents only", len(texts))
	}
	return texts
}

// blocks returns the blocks of a language in a document.
func blocks(text, language string) []string {
	var found []string
	for _, block := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		found = append(found, block)
	}
	return found
}

// unindented returns the lines of a text without leading tabs.
func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

// Each Go block of a document is part of a Go file of this repository, so it compiles.
func TestGoBlocksCompile(t *testing.T) {
	t.Parallel()
	var compiled strings.Builder
	if err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(file) != ".go" {
			return err
		}
		source, err := os.ReadFile(file)
		if err == nil && !bytes.HasPrefix(source, []byte("//go:build ignore")) {
			compiled.WriteString(unindented(string(source)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, block := range blocks(text, "go") {
			if !strings.Contains(compiled.String(), unindented(block)) {
				t.Errorf("%s has a Go block that no Go file has:\n%s", name, block)
			}
		}
	}
}

// Each command that the README gives is run by .ci/run, word for word.
func TestCommandsRun(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile(filepath.Join(root, ".ci/run"))
	if err != nil {
		t.Fatal(err)
	}
	found := blocks(documents(t)["README.md"], "sh")
	if len(found) == 0 {
		t.Fatal("the README has no command")
	}
	for _, block := range found {
		for line := range strings.Lines(block) {
			if command := strings.TrimSpace(line); !strings.Contains(string(script), `readme "`+command+`"`) {
				t.Errorf("the README gives %q, and .ci/run does not run it", command)
			}
		}
	}
}

// The README can be read at one go.
func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	text := documents(t)["README.md"]
	if n := strings.Count(text, "\n"); n >= 170 {
		t.Errorf("the README has %d lines, fewer than 170 expected", n)
	}
	for _, section := range strings.Split(text, "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		n := 0
		for line := range strings.Lines(body) {
			if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "```") {
				n++
			}
		}
		if n > 12 {
			t.Errorf("section %q of the README has %d lines, at most 12", title, n)
		}
	}
}

// heading matches a heading of a document outside blocks, link a link to another place.
var (
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	block   = regexp.MustCompile("(?s)```.*?```")
)

// anchors returns what GitHub makes of the headings of a text.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}

// Each link within the repository leads to a file, and to a heading if it names one.
func TestLinks(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for name, text := range texts {
		for _, l := range link.FindAllStringSubmatch(block.ReplaceAllString(text, ""), -1) {
			if strings.Contains(l[1], "://") {
				continue
			}
			to, anchor, _ := strings.Cut(l[1], "#")
			if to == "" {
				to = name
			} else {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(name), to))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s: %v", name, l[1], err)
			}
			if target, ok := texts[to]; anchor != "" && ok && !anchors(target)[anchor] {
				t.Errorf("%s links to %s, which has no such heading", name, l[1])
			}
		}
	}
}
