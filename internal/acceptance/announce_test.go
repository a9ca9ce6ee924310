package acceptance

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// An outbox says in one line of the log which file it uses and what is in it, and says clearly that it made
// a new one: a wrong working directory would otherwise begin an empty outbox without a word.
func TestOpeningIsLogged(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := func(words ...string) {
		t.Helper()
		var log bytes.Buffer
		b, err := outbox.Open("outbox.db", nil, &outbox.Options{Sender: sender.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=INFO") {
			t.Errorf("the log is %q, want one line", got)
		}
		for _, word := range append(words, "path="+filepath.Join(dir, "outbox.db"), "bucket=outbox") {
			if !strings.Contains(log.String(), word) {
				t.Errorf("the log is %q, without %q", &log, word)
			}
		}
	}
	open("nothing was there", "pending=0", "dead=0")
	open("opened", "pending=0", "dead=0")

	s, err := store.Open("outbox.db", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Append(t.Context(), sender.Item{ID: uuid.New(), Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	items, _, err := s.Claim(t.Context(), time.Now(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	if err := s.Settle(t.Context(), sender.Outcome{Item: items[0], Verdict: sender.Dead, PauseUntil: until}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open("opened", "pending=2", "dead=1", "paused_until="+until.Format("2006-01-02T"))
}

// A lane that was not there is announced as a new one, once.
func TestANewLaneIsLogged(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "outbox.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lane, err := s.Lane("mail", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"nothing was there", "opened"} {
		var log bytes.Buffer
		b, err := outbox.New(lane, nil, &outbox.Options{Sender: sender.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), word) || !strings.Contains(log.String(), "bucket=mail") {
			t.Errorf("the log is %q, without %q", &log, word)
		}
	}
}
