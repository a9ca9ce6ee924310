package acceptance

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// One bad bit in the page that leads to everything costs nothing after a clean Close, and is said.
func TestDamagedMeta(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	b, err := outbox.Open(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutAll(t.Context(), outbox.Event{Kind: "a"}, outbox.Event{Kind: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// A bbolt file begins with two meta pages: 16 bytes of header, the transaction 48 bytes behind
	// it.
	newest, page := 0, os.Getpagesize()
	if txid := func(at int) uint64 { return binary.NativeEndian.Uint64(file[at+16+48:]) }; txid(page) > txid(0) {
		newest = page
	}
	file[newest+16+48] ^= 1
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	b, err = outbox.Open(path, nil, &outbox.Options{Sender: sender.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if s := b.Stats(); s.Pending != 2 || s.Fallback == "" {
		t.Errorf("%d pending, 2 expected; Fallback %q", s.Pending, s.Fallback)
	}
	if !strings.Contains(log.String(), "older commit") {
		t.Errorf("the log does not tell: %s", &log)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
