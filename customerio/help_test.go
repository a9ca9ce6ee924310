package customerio_test

import (
	"bytes"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/outboxtest"
)

// TestMain sends whatever would leave the machine to a port where nobody listens. Loopback addresses
// need no proxy.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	if path := os.Getenv(childFile); path != "" {
		os.Exit(child(path, os.Getenv(childURL), os.Getenv(childPeople)))
	}
	campaign.Run(m)
}

// A world is a server and all that it takes to open clients of it, in one bubble.
type world struct {
	*customeriotest.Server
	t    *testing.T
	http *http.Client
	path string // of the file
	log  *buffer
}

// bubble runs f in a bubble, where time passes only while all sleep.
func bubble(t *testing.T, o *customeriotest.Options, f func(t *testing.T, w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		pipe := outboxtest.NewPipe()
		s := customeriotest.NewUnstartedServer(o)
		s.Start(pipe)
		tr := &http.Transport{DialContext: pipe.DialContext, MaxIdleConnsPerHost: 100}
		w := &world{s, t, &http.Client{Transport: tr}, filepath.Join(dir, "customerio.db"), &buffer{}}
		defer s.Close()
		defer tr.CloseIdleConnections()
		f(t, w)
	})
}

// options are those of a client of the server.
func (w *world) options() customerio.Options {
	return customerio.Options{
		SiteID: "site", TrackKey: "track-key", AppKey: "app-key",
		TrackURL: "http://customerio.test", AppURL: "http://customerio.test",
		Client: w.http, Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// open opens a client; change, which may be nil, changes its options first. It is closed with the test.
func (w *world) open(change func(*customerio.Options)) *customerio.Client {
	w.t.Helper()
	o := w.options()
	if change != nil {
		change(&o)
	}
	c, err := customerio.Open(w.path, &o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// flush delivers all that there is.
func (w *world) flush(c *customerio.Client) {
	w.t.Helper()
	if err := c.Flush(w.t.Context()); err != nil {
		w.t.Error(err)
	}
}

// check proves that every lane is sound.
func (w *world) check(c *customerio.Client) {
	w.t.Helper()
	for _, name := range customerio.Lanes() {
		if err := c.Lane(name).Check(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
}

// dead returns the reasons of the dead of a lane.
func dead(t *testing.T, c *customerio.Client, name customerio.Lane) (reasons []string) {
	t.Helper()
	for it, err := range c.Lane(name).Dead() {
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, it.LastErr)
	}
	return reasons
}

// A buffer is written by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// count returns how many lines hold all of the words.
func (b *buffer) count(words ...string) (n int) {
lines:
	for line := range strings.Lines(b.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		n++
	}
	return n
}

// each returns rows as an iterator.
func each(list ...customerio.Row) iter.Seq2[customerio.Row, error] {
	return func(yield func(customerio.Row, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// brief is the text of an error without what all of these errors say.
func brief(err error) string { return strings.ReplaceAll(err.Error(), "customerio: invalid: ", "") }

// A plan is text of a type of its own.
type plan string
