package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// cutShort makes the file shorter while it is open.
func cutShort(to int64) func(t *testing.T, path string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := os.Truncate(path, to); err != nil {
			t.Fatal(err)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// Whatever somebody does to an open file, the next commit notices, and nothing is acknowledged.
func TestTouched(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		touch func(t *testing.T, path string)
		want  error
	}{
		{"unlinked", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, sender.ErrStorage},
		{"moved away", func(t *testing.T, path string) { rename(t, path, path+".old") }, sender.ErrStorage},
		{"its directory moved away", func(t *testing.T, path string) { rename(t, filepath.Dir(path), filepath.Dir(path)+".old") }, sender.ErrStorage},
		{"replaced by another outbox", func(t *testing.T, path string) {
			other := openStore(t, path+".other", nil)
			put(t, other, event("theirs", ""))
			checkedClose(t, other)
			rename(t, path+".other", path)
		}, sender.ErrStorage},
		{"emptied", cutShort(0), ErrCorrupt},
		{"cut behind its metas", cutShort(8192), ErrCorrupt},
		{"cut in the middle", cutShort(16384), ErrCorrupt},
		{"overwritten by an older copy", func(t *testing.T, path string) {
			old, err := os.ReadFile(path + ".copy")
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Write(old); err != nil {
				t.Fatal(err)
			}
		}, ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in", "outbox")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, &prompt)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			put(t, s, event("a", ""), event("b", ""))
			copyFile(t, path, path+".copy")
			for range 20 {
				it := event("bulk", "")
				it.Payload = make([]byte, 10_000)
				put(t, s, it)
			}
			held := claims(t, s, 1)

			tt.touch(t, path)
			wantError(t, s.Append(t.Context(), event("into the void", "")), tt.want)
			wantError(t, s.Settle(t.Context(), delivered(held...)...), sender.ErrStorage)
			if s.Counts().Err == nil {
				t.Error("Counts do not tell")
			}
			if _, _, err := s.Claim(t.Context(), time.Now(), 1, 0); err == nil {
				t.Error("items are handed out of a file that is lost")
			}
		})
	}
}

// A file that comes back is used again, with all that was in it.
func TestMovedAwayAndBack(t *testing.T) {
	s, forward := clocked(t, &prompt)
	put(t, s, event("a", ""))
	rename(t, s.Path(), s.Path()+".old")
	wantError(t, s.Append(t.Context(), event("lost", "")), sender.ErrStorage)
	rename(t, s.Path()+".old", s.Path())
	forward(time.Minute)
	put(t, s, event("b", ""))
	wantNames(t, "left", drain(t, s), "a", "b")
}

// A copy taken while the file is in use is a file of its own, which opens or says that it is torn.
func TestCopiedWhileOpen(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, events(100)...)
	copyFile(t, s.Path(), s.Path()+".copy")
	put(t, s, event("later", ""))
	c := openStore(t, s.Path()+".copy", nil)
	if got := len(drain(t, c)); got != 100 {
		t.Errorf("%d items in the copy, 100 expected", got)
	}
	if got := len(drain(t, s)); got != 101 {
		t.Errorf("%d items, 101 expected", got)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, to, b)
}
