package store

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// newIn opens a lane in an application's database.
func newIn(t *testing.T, o *Options) (*bolt.DB, *Store) {
	t.Helper()
	db := openDB(t, filepath.Join(t.TempDir(), "app.db"))
	if o == nil {
		o = &prompt
	}
	s, err := In(db, "events", o)
	if err != nil {
		t.Fatal(err)
	}
	checkAtEnd(t, s)
	return db, s
}

// placeOrder is a write of the application: a row of its own, and what fn does.
func placeOrder(db *bolt.DB, row string, fn func(tx *bolt.Tx) error) error {
	return db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("orders"))
		if err != nil {
			return err
		}
		return errors.Join(b.Put([]byte(row), nil), fn(tx))
	})
}

func orders(t *testing.T, db *bolt.DB) (rows []string) {
	t.Helper()
	if err := db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("orders")); b != nil {
			return b.ForEach(func(k, _ []byte) error { rows = append(rows, string(k)); return nil })
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestAppendTxCommitsWithTheApplication(t *testing.T) {
	db, s := newIn(t, nil)
	var notified atomic.Int32
	s.Attach(func() { notified.Add(1) })
	if err := placeOrder(db, "1", func(tx *bolt.Tx) error {
		return errors.Join(
			s.AppendTx(tx, event("a", ""), event("b", "")),
			s.AppendTx(tx, event("c", "")),
			func() error {
				if notified.Load() != 0 || s.Counts().Put != 0 {
					t.Error("told before the commit")
				}
				return nil
			}())
	}); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Ready != 3 || c.Put != 3 || notified.Load() == 0 {
		t.Errorf("counts %+v, notified %d times", c, notified.Load())
	}
	wantNames(t, "orders", orders(t, db), "1")
	told := notified.Load()
	changedMind := errors.New("changed my mind")
	wantError(t, placeOrder(db, "2", func(tx *bolt.Tx) error {
		return errors.Join(s.AppendTx(tx, event("d", "")), changedMind)
	}), changedMind)
	if c := s.Counts(); c.Put != 3 || notified.Load() != told {
		t.Errorf("after a rollback: counts %+v, notified %d times more", c, notified.Load()-told)
	}
	wantNames(t, "orders", orders(t, db), "1")
	put(t, s, event("e", ""))
	wantNames(t, "delivered", drain(t, s), "a", "b", "c", "e")
}

func TestAppendTxRefuses(t *testing.T) {
	db, s := newIn(t, &Options{MaxPending: 2, Block: true, Gather: -1})
	other := openDB(t, filepath.Join(t.TempDir(), "other.db"))
	own := newStore(t, nil)
	refused := func(tx *bolt.Tx, word string) {
		t.Helper()
		if err := s.AppendTx(tx, event("a", "")); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want one that says %q", err, word)
		}
	}
	refused(nil, "ended")
	ended, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.Rollback(); err != nil {
		t.Fatal(err)
	}
	refused(ended, "ended")
	if err := errors.Join(
		db.View(func(tx *bolt.Tx) error { refused(tx, "reading only"); return nil }),
		other.Update(func(tx *bolt.Tx) error { refused(tx, "another database"); return nil }),
		own.file.View(func(tx *bolt.Tx) error {
			if err := own.AppendTx(tx, event("a", "")); err == nil {
				t.Error("a lane of Open took a transaction")
			}
			return nil
		}),
	); err != nil {
		t.Error(err)
	}
	// At the limit it does not wait, and what was stored before stands.
	if err := placeOrder(db, "1", func(tx *bolt.Tx) error {
		if err := s.AppendTx(tx, events(2)...); err != nil {
			return err
		}
		err := s.AppendTx(tx, event("b", ""))
		wantError(t, err, sender.ErrFull)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Ready != 2 {
		t.Errorf("counts %+v", c)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		big := event("a", "")
		big.Payload = make([]byte, 5<<20)
		wantError(t, s.AppendTx(tx, big), sender.ErrTooLarge)
		why := errors.New("shutting down")
		s.Refuse(why)
		wantError(t, s.AppendTx(tx, event("a", "")), why)
		return nil
	}); err != nil {
		t.Error(err)
	}
	checkedClose(t, s)
	if err := db.Update(func(tx *bolt.Tx) error { return s.AppendTx(tx, event("a", "")) }); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("after Close: %v, want sender.ErrClosed", err)
	}
}

// While the application holds its transaction, the lane waits, can be called off, and goes on after it.
func TestApplicationHoldsItsTransaction(t *testing.T) {
	db, s := newIn(t, nil)
	put(t, s, event("a", ""), event("b", ""))
	items := claims(t, s, 1)
	tx, err := db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	calledOff, stored, settled := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() { calledOff <- s.Append(ctx, event("called off", "")) }()
	go func() { stored <- s.Append(t.Context(), event("c", "")) }()
	go func() { settled <- s.Settle(t.Context(), delivered(items...)...) }()
	err = <-calledOff
	wantError(t, err, context.DeadlineExceeded)
	if err == nil || !strings.Contains(err.Error(), "nothing was stored") {
		t.Errorf("error %q does not say that nothing was stored", err)
	}
	if len(stored)+len(settled) > 0 {
		t.Error("answered while the application held its transaction")
	}
	if err := s.AppendTx(tx, event("d", "")); err != nil {
		t.Error(err)
	}
	// Reading goes on meanwhile.
	wantNames(t, "claimed", kinds(claims(t, s, 1)), "b")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-stored, <-settled); err != nil {
		t.Error(err)
	}
	if c := s.Counts(); c.Put != 4 || c.Delivered != 1 || c.Pending != 3 {
		t.Errorf("counts %+v", c)
	}
	got := drain(t, s)
	slices.Sort(got)
	wantNames(t, "afterwards", got, "c", "d")
}

// bbolt runs OnCommit handlers after it has let go of its lock, so that a later commit may be faster.
func TestCountsWhenAHandlerRunsLate(t *testing.T) {
	db, s := newIn(t, nil)
	late := make(chan struct{})
	done := make(chan error, 1)
	committed := make(chan struct{})
	go func() {
		done <- db.Update(func(tx *bolt.Tx) error {
			tx.OnCommit(func() { close(committed); <-late })
			return s.AppendTx(tx, event("a", ""))
		})
	}()
	<-committed
	// It can be claimed before it was counted; the parts add up all the same.
	items := claims(t, s, 1)
	wantNames(t, "claimed", kinds(items), "a")
	if c := s.Counts(); c.Ready+c.InFlight != c.Pending || uint64(c.Pending) != c.Put {
		t.Errorf("before the handler: %+v", c)
	}
	put(t, s, event("b", ""))
	settle(t, s, delivered(items...)...)
	close(late)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c := s.Counts(); c.Put != 2 || c.Delivered != 1 || c.Pending != 1 || c.Ready != 1 {
		t.Errorf("counts %+v", c)
	}
}

func TestInRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	refused := func(db *bolt.DB, bucket, word string) {
		t.Helper()
		s, err := In(db, bucket, nil)
		if err == nil {
			s.Close()
			t.Errorf("accepted, want an error that says %q", word)
		} else if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not say %q", err, word)
		}
		if db != nil {
			wantForgotten(t, db)
		}
	}
	refused(nil, "events", "nil")
	db := openDB(t, path)
	refused(db, "", "0 bytes")
	refused(db, strings.Repeat("x", 256), "256 bytes")
	if err := placeOrder(db, "1", func(*bolt.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	refused(db, "orders", "not a lane")
	db.NoSync = true
	refused(db, "events", "NoSync true")
	db.NoSync, db.NoGrowSync = false, true
	refused(db, "events", "NoGrowSync true")
	db.NoGrowSync = false
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused(db, "events", "not open")
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	refused(db, "events", "reading only")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDatabaseClosedByTheApplication(t *testing.T) {
	db, s := newIn(t, nil)
	put(t, s, events(3)...)
	items := claims(t, s, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, claimErr := s.Claim(t.Context(), time.Now(), 1, 0)
	_, findErr := s.Find(t.Context(), items[0].ID)
	for what, err := range map[string]error{
		"Append":  s.Append(t.Context(), event("a", "")),
		"Settle":  s.Settle(t.Context(), delivered(items...)...),
		"Release": s.Settle(t.Context(), sender.Outcome{Item: items[0], Verdict: sender.Released}),
		"Claim":   claimErr,
		"Find":    findErr,
		"Check":   s.Check(t.Context()),
		"Revive":  second(s.Revive(t.Context(), items...)),
		"Drop":    second(s.Drop(t.Context(), items...)),
	} {
		if err == nil {
			t.Errorf("%s worked on a closed database", what)
		}
	}
	s.Mark(t.Context(), time.Now())
	wantError(t, s.Close(), sender.ErrStorage)
}
