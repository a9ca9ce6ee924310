package store

import (
	"bytes"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
)

// A note and the items of one call are stored together, or not at all, and outlive the process.
func TestNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.db")
	s, err := Open(path, &Options{MaxPending: 3})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Lane("other", nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(s *Store, key, value string, pending int) {
		t.Helper()
		note, err := s.Note(key)
		counts := s.Counts()
		if err != nil || string(note) != value || counts.Pending != pending {
			t.Errorf("%s: note %q, %d pending, %v; want %q and %d", key, note, counts.Pending, err, value, pending)
		}
	}
	items := func(n int) (items []sender.Item) {
		for range n {
			items = append(items, sender.Item{ID: uuid.New(), Created: time.Now(), Payload: []byte("payload")})
		}
		return items
	}
	expect(s, "line", "", 0)
	if err := s.AppendNoted(t.Context(), "line", []byte("2"), items(2)...); err != nil {
		t.Fatal(err)
	}
	expect(s, "line", "2", 2)
	expect(other, "line", "", 0) // each lane has its own
	if err := s.AppendNoted(t.Context(), "line", []byte("4"), items(2)...); !errors.Is(err, sender.ErrFull) {
		t.Errorf("four items into room for three: %v", err)
	}
	expect(s, "line", "2", 2)
	if err := s.AppendNoted(t.Context(), "line", []byte("3"), items(1)...); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendNoted(t.Context(), "job", []byte("7")); err != nil {
		t.Errorf("a note alone, in a full lane: %v", err)
	}
	for _, row := range []struct {
		key   string
		bytes int
	}{{"", 1}, {strings.Repeat("k", 256), 1}, {"k", 4097}} {
		if err := s.AppendNoted(t.Context(), row.key, make([]byte, row.bytes)); !errors.Is(err, sender.ErrTooLarge) {
			t.Errorf("a key of %d bytes and a value of %d: %v", len(row.key), row.bytes, err)
		}
	}
	if err := s.AppendNoted(t.Context(), strings.Repeat("k", 255), bytes.Repeat([]byte("v"), 4096)); err != nil {
		t.Errorf("the largest note: %v", err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Note("line"); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}

	if s, err = Open(path, nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	expect(s, "line", "3", 3)
	expect(s, "job", "7", 3)
	if err := s.AppendNoted(t.Context(), "line", nil); err != nil {
		t.Fatal(err)
	}
	expect(s, "line", "", 3)
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}
