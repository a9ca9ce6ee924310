// Package storetest has what the tests of package store and of those below it share. It does not
// import package store, so that the tests inside that package can use it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"

	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
)

// A Lane is a [store.Store].
type Lane interface {
	Append(ctx context.Context, items ...sender.Item) error
	Claim(ctx context.Context, now time.Time, max, maxBytes int) ([]sender.Item, time.Time, error)
	Settle(ctx context.Context, outcomes ...sender.Outcome) error
	Check(ctx context.Context) error
	Close() error
}

// Born is a time that is the same in every run.
var Born = time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)

// Event is an item to append. Its name is its kind, by which the tests know it again.
func Event(name, key string) sender.Item {
	return sender.Item{ID: uuid.New(), Kind: name, Key: key, Payload: []byte("payload of " + name), Created: time.Now()}
}

// Events are n items without keys, named by their place.
func Events(n int) []sender.Item {
	items := make([]sender.Item, n)
	for i := range items {
		items[i] = Event(fmt.Sprint(i), "")
	}
	return items
}

// CheckAtEnd ends a test with Check and Close, unless it has closed the lane itself.
func CheckAtEnd(t testing.TB, s Lane) {
	t.Cleanup(func() {
		err := s.Check(context.Background())
		if errors.Is(err, sender.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// CheckedClose ends the use of a lane in the middle of a test.
func CheckedClose(t testing.TB, s Lane) {
	t.Helper()
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func Put(t testing.TB, s Lane, items ...sender.Item) {
	t.Helper()
	if err := s.Append(context.Background(), items...); err != nil {
		t.Fatal(err)
	}
}

// Claims is what one Claim of up to n hands out now.
func Claims(t testing.TB, s Lane, n int) []sender.Item {
	t.Helper()
	items, _, err := s.Claim(context.Background(), time.Now(), n, 0)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// Settle records outcomes, which must succeed.
func Settle(t testing.TB, s Lane, outcomes ...sender.Outcome) {
	t.Helper()
	if err := s.Settle(context.Background(), outcomes...); err != nil {
		t.Fatal(err)
	}
}

func Delivered(items ...sender.Item) (outcomes []sender.Outcome) {
	for _, it := range items {
		outcomes = append(outcomes, sender.Outcome{Item: it, Verdict: sender.Delivered})
	}
	return outcomes
}

// Failed is the outcome of one more failure, at this moment.
func Failed(it sender.Item, v sender.Verdict, due time.Time) sender.Outcome {
	it.Attempts++
	it.Failures++
	it.FailedAt, it.LastErr = time.Now(), "refused "+it.Kind
	return sender.Outcome{Item: it, Verdict: v, Due: due}
}

// Drain delivers what is due, in claims of a hundred, until nothing more is.
func Drain(t testing.TB, s Lane) (names []string) {
	t.Helper()
	for {
		items, next, err := s.Claim(context.Background(), time.Now(), 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		Settle(t, s, Delivered(items...)...)
		names = append(names, Kinds(items)...)
		if len(items) == 0 && (next.IsZero() || next.After(time.Now())) {
			return names
		}
	}
}

// Kinds are the names of items.
func Kinds(items []sender.Item) (names []string) {
	for _, it := range items {
		names = append(names, it.Kind)
	}
	return names
}

// List is all that Pending or Dead list.
func List(t testing.TB, seq func(func(sender.Item, error) bool)) (items []sender.Item) {
	t.Helper()
	for it, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
	return items
}

// Same compares two items; times are compared as instants.
func Same(a, b sender.Item) bool {
	times := func(it *sender.Item) (ts []time.Time) {
		for _, t := range []*time.Time{&it.Created, &it.Due, &it.Expires, &it.FailedAt} {
			ts, *t = append(ts, *t), time.Time{}
		}
		history := it.History
		it.History = nil
		for _, f := range history {
			ts = append(ts, f.At)
			it.LastErr += "\n" + f.Reason
		}
		return ts
	}
	ta, tb := times(&a), times(&b)
	return reflect.DeepEqual(a, b) && slices.EqualFunc(ta, tb, time.Time.Equal)
}

func WantNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func WantError(t testing.TB, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error %v, want one that is %v", err, sentinel)
	}
}

// OpenDB is a database of an application.
func OpenDB(t testing.TB, path string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// specimens are those of this process, by whether they are clean: one of each will do, see [Long].
var specimens = struct {
	sync.Mutex
	of map[bool]pagestest.Image
}{of: make(map[bool]pagestest.Image)}

// Specimen is a file with a lane of a thousand items, some large, of which 100 are delivered,
// closed cleanly or not. open opens the lane in a file.
func Specimen(t testing.TB, clean bool, open func(path string) (Lane, error)) pagestest.Image {
	t.Helper()
	specimens.Lock()
	defer specimens.Unlock()
	if specimens.of[clean] == nil || campaign.Long() {
		specimens.of[clean] = makeSpecimen(t, clean, open)
	}
	return bytes.Clone(specimens.of[clean])
}

func makeSpecimen(t testing.TB, clean bool, open func(path string) (Lane, error)) pagestest.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		items := Events(100)
		for j := range items {
			items[j].Payload = bytes.Repeat([]byte{byte(j)}, 300)
		}
		items[i].Payload = make([]byte, 10000)
		Put(t, s, items...)
		Settle(t, s, Delivered(Claims(t, s, 10)...)...)
	}
	m := pagestest.Read(t, path)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if clean {
		m = pagestest.Read(t, path)
	}
	return m
}
