package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// born is a time that is the same in every run.
var born = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

// prompt settles at once, and waits for no lock.
var prompt = Options{Gather: -1, LockTimeout: -1}

// newStore opens a lane in a new file, which is checked and closed when the test ends.
func newStore(t testing.TB, o *Options) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "outbox.db"), o)
}

func openStore(t testing.TB, path string, o *Options) *Store {
	t.Helper()
	if o == nil {
		o = &prompt
	}
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	return s
}

// checkAtEnd ends a test with Check and Close, unless it has closed the lane itself.
func checkAtEnd(t testing.TB, s *Store) {
	t.Cleanup(func() {
		if s.closed.Load() {
			return
		}
		if err := s.Check(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// checkedClose ends the use of a lane in the middle of a test.
func checkedClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// clocked is a lane whose clock the test can set forward.
func clocked(t *testing.T, o *Options) (s *Store, forward func(time.Duration)) {
	t.Helper()
	var ahead atomic.Int64
	s, err := open(filepath.Join(t.TempDir(), "outbox"), o, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	return s, func(d time.Duration) { ahead.Add(int64(d)) }
}

// event is an item to append. Its name is its kind, by which the tests know it again.
func event(name, key string) sender.Item {
	return sender.Item{ID: uuid.New(), Kind: name, Key: key, Payload: []byte("payload of " + name), Created: time.Now()}
}

// events are n items without keys, named by their place.
func events(n int) []sender.Item {
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = event(fmt.Sprint(i), "")
	}
	return items
}

func put(t testing.TB, s *Store, items ...sender.Item) {
	t.Helper()
	if err := s.Append(context.Background(), items...); err != nil {
		t.Fatal(err)
	}
}

// claims is what one Claim of up to n hands out now.
func claims(t testing.TB, s *Store, n int) []sender.Item {
	t.Helper()
	items, _, err := s.Claim(context.Background(), time.Now(), n, 0)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// settle records outcomes, which must succeed.
func settle(t testing.TB, s *Store, outcomes ...sender.Outcome) {
	t.Helper()
	if err := s.Settle(context.Background(), outcomes...); err != nil {
		t.Fatal(err)
	}
}

func delivered(items ...sender.Item) (outcomes []sender.Outcome) {
	for _, it := range items {
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Delivered})
	}
	return outcomes
}

// failed is the outcome of one more failure, at this moment.
func failed(it sender.Item, v sender.Verdict, due time.Time) sender.Outcome {
	it.Attempts++
	it.Failures++
	it.FailedAt, it.LastErr = time.Now(), "refused "+it.Kind
	return sender.Outcome{Item: it, Verdict: v, Due: due}
}

// drain delivers what is due, in claims of a hundred, until nothing more is.
func drain(t testing.TB, s *Store) (names []string) {
	t.Helper()
	for {
		items, next, err := s.Claim(context.Background(), time.Now(), 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		settle(t, s, delivered(items...)...)
		names = append(names, kinds(items)...)
		if len(items) == 0 && (next.IsZero() || next.After(time.Now())) {
			return names
		}
	}
}

func kinds(items []sender.Item) (names []string) {
	for _, it := range items {
		names = append(names, it.Kind)
	}
	return names
}

func list(t testing.TB, seq func(func(sender.Item, error) bool)) (items []sender.Item) {
	t.Helper()
	for it, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	return items
}

func wantNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func wantError(t testing.TB, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error %v, want one that is %v", err, sentinel)
	}
}

// openDB is a database of an application.
func openDB(t testing.TB, path string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
