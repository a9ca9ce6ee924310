package store

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// appendTx appends in a transaction of the application.
func appendTx(db *bolt.DB, s *Store, items ...sender.Item) error {
	return db.Update(func(tx *bolt.Tx) error { return s.AppendTx(tx, items...) })
}

// After a failed commit of a lane all lanes of the database go on, without being opened again.
func TestInHeals(t *testing.T) {
	for when, want := range map[int32][]string{1: {"a", "c", "d"}, 2: {"a", "b", "c", "d"}} {
		db, s := newIn(t, nil)
		second, err := In(db, "second", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		checkAtEnd(t, second)
		put(t, s, event("a", ""))
		makeFaulty(s).armed.Store(when)
		err = s.Append(t.Context(), event("b", ""))
		wantError(t, err, sender.ErrStorage)
		if err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("error %q does not say that the outcome is unknown", err)
		}
		for _, lane := range []*Store{s, second} {
			put(t, lane, event("c", ""))
			if err := errors.Join(appendTx(db, lane, event("d", "")), lane.Counts().Err); err != nil {
				t.Error(err)
			}
		}
		wantNames(t, "delivered", drain(t, s), want...)
		wantNames(t, "delivered", drain(t, second), "c", "d")
	}
}

// Nothing is put into a database whose file is gone, neither by the lane nor by the application. When
// the file is back, both go on.
func TestInNoticesThatItsFileIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, s := newIn(t, nil)
		put(t, s, event("a", ""))
		rename(t, db.Path(), db.Path()+".old")
		for range 2 {
			err := appendTx(db, s, event("into the void", ""))
			wantError(t, err, sender.ErrStorage)
			wantError(t, err, os.ErrNotExist)
			if err == nil || !strings.Contains(err.Error(), "nothing was stored") {
				t.Errorf("error %q does not say what became of the item", err)
			}
		}
		wantError(t, s.Append(t.Context(), event("into the void", "")), sender.ErrStorage)
		wantError(t, s.Counts().Err, sender.ErrStorage)
		_, err := In(db, "second", &prompt)
		wantError(t, err, sender.ErrStorage)
		err = Heal(db)
		wantError(t, err, os.ErrNotExist)
		wantError(t, err, sender.ErrStorage)

		rename(t, db.Path()+".old", db.Path())
		time.Sleep(time.Second)
		wantError(t, appendTx(db, s, event("too early", "")), sender.ErrStorage) // it has the lane heal
		synctest.Wait()
		if err := appendTx(db, s, event("b", "")); err != nil {
			t.Error(err)
		}
		wantNames(t, "delivered", drain(t, s), "a", "b")
	})
}

// Another file in the place of the database is noticed, and is not written to.
func TestInNoticesAnotherFile(t *testing.T) {
	db, s := newIn(t, nil)
	rename(t, db.Path(), db.Path()+".old")
	copyFile(t, db.Path()+".old", db.Path())
	wantError(t, appendTx(db, s, event("a", "")), sender.ErrStorage)
	put := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("more")); return err })
	if put != nil {
		t.Fatal(put)
	}
	before, err := os.ReadFile(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Heal(db), sender.ErrStorage)
	if after, err := os.ReadFile(db.Path()); err != nil || string(after) != string(before) {
		t.Errorf("it was written to; %v", err)
	}
	rename(t, db.Path()+".old", db.Path())
}

// Heal ends the failure of a lane at once, and works without one.
func TestHeal(t *testing.T) {
	db, s := newIn(t, nil)
	put(t, s, event("a", ""))
	rename(t, db.Path(), db.Path()+".old")
	wantError(t, s.Append(t.Context(), event("b", "")), sender.ErrStorage)
	rename(t, db.Path()+".old", db.Path())
	if err := errors.Join(Heal(db), s.Counts().Err, appendTx(db, s, event("c", ""))); err != nil {
		t.Error(err)
	}
	wantNames(t, "delivered", drain(t, s), "a", "c")
	checkedClose(t, s)
	if err := errors.Join(Heal(db), placeOrder(db, "1", func(*bolt.Tx) error { return nil })); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, db := range []*bolt.DB{nil, db} {
		if err := Heal(db); err == nil {
			t.Error("it healed a database that is not open")
		}
	}
}
