package store

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

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

// What the tests below this package use as well.
var (
	born         = storetest.Born
	event        = storetest.Event
	events       = storetest.Events
	checkAtEnd   = storetest.CheckAtEnd
	checkedClose = storetest.CheckedClose
	put          = storetest.Put
	claims       = storetest.Claims
	settle       = storetest.Settle
	delivered    = storetest.Delivered
	failed       = storetest.Failed
	drain        = storetest.Drain
	kinds        = storetest.Kinds
	list         = storetest.List
	same         = storetest.Same
	wantNames    = storetest.WantNames
	wantError    = storetest.WantError
	openDB       = storetest.OpenDB
	partly       = pagestest.Partly
	elementOf    = pagestest.Element
)

type image = pagestest.Image

// specimenImage is a file with a lane of a thousand items, some large, closed cleanly or not.
func specimenImage(t testing.TB, clean bool) image {
	return storetest.Specimen(t, clean, func(path string) (storetest.Lane, error) { return Open(path, &prompt) })
}

// second is the error of a call that returns a number too.
func second[T any](_ T, err error) error { return err }
