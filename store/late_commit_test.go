package store

import (
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Of two transactions of the application that Claim has seen, the older is learnt of first: the counts do not
// speak of the items of the other before that is learnt of too.
func TestCountsWaitForTheLatestTransaction(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "app.db"))
	s, err := In(db, "lane", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	// begin commits an item, and does not let the lane know of it before the function returned is called.
	begin := func(name string) (learn func()) {
		committed, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			done <- db.Update(func(tx *bolt.Tx) error {
				tx.OnCommit(func() { close(committed); <-release })
				return s.AppendTx(tx, event(name, ""))
			})
		}()
		<-committed
		return func() {
			close(release)
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	first, second := begin("a"), begin("b")
	if items := claims(t, s, 2); len(items) != 2 {
		t.Fatalf("claimed %q", kinds(items))
	}
	first()
	if c := s.Counts(); c.InFlight > c.Pending {
		t.Errorf("%d in flight of %d pending", c.InFlight, c.Pending)
	}
	second()
	if c := s.Counts(); c.InFlight != 2 || c.Pending != 2 {
		t.Errorf("in the end %d in flight of %d pending, want 2 of 2", c.InFlight, c.Pending)
	}
}
