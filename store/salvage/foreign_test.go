package salvage_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// database makes a database of an application, with these many lanes, and returns its bytes.
func database(t *testing.T, lanes int, fill func(tx *bolt.Tx) error) pagestest.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	db := storetest.OpenDB(t, path)
	if err := db.Update(fill); err != nil {
		t.Fatal(err)
	}
	for i := range lanes {
		s, err := store.In(db, fmt.Sprint("lane ", i), &prompt)
		if err != nil {
			t.Fatal(err)
		}
		storetest.Put(t, s, storetest.Events(20)...)
		storetest.CheckedClose(t, s)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return pagestest.Read(t, path)
}

// small and large fill buckets of an application: one that lies inside the root page, and one that
// has pages of its own and a bucket inside.
func small(tx *bolt.Tx) error {
	b, err := tx.CreateBucket([]byte("settings"))
	if err != nil {
		return err
	}
	return b.Put([]byte("theme"), []byte("dark"))
}

func large(tx *bolt.Tx) error {
	b, err := tx.CreateBucket([]byte("users"))
	if err != nil {
		return err
	}
	if _, err := b.CreateBucket([]byte("meta")); err != nil {
		return err
	}
	for i := range 500 {
		if err := b.Put(fmt.Appendf(nil, "user %03d", i), bytes.Repeat([]byte{1}, 100)); err != nil {
			return err
		}
	}
	return nil
}

func nothing(*bolt.Tx) error { return nil }

// unchanged salvages m, in place or into another file, and wants an error that leaves everything as
// it was.
func unchanged(t *testing.T, m pagestest.Image, elsewhere bool, want error) {
	t.Helper()
	path, into := m.Write(t), ""
	if elsewhere {
		into = path + "2"
	}
	res, err := salvage.File(path, into)
	storetest.WantError(t, err, want)
	if got := pagestest.Read(t, path); !bytes.Equal(got, m) {
		t.Errorf("%+v: the file was changed", res)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v in the directory, want the file alone", left, err)
	}
}

// A sound database without a lane is another program's: it is not replaced by an empty outbox.
func TestSalvageRefusesForeignDatabases(t *testing.T) {
	for name, fill := range map[string]func(*bolt.Tx) error{"empty": nothing, "small": small, "large": large} {
		t.Run(name, func(t *testing.T) {
			m := database(t, 0, fill)
			unchanged(t, m, false, store.ErrFormat)
			unchanged(t, m, true, store.ErrFormat)
		})
	}
}

// A database of an application is not replaced by a file that holds only its lanes, also when it is
// damaged. The lanes come out under another path.
func TestSalvageLeavesADatabaseInItsPlace(t *testing.T) {
	for name, fill := range map[string]func(*bolt.Tx) error{"small": small, "large": large} {
		for _, damaged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, damaged %t", name, damaged), func(t *testing.T) {
				m := database(t, 2, fill)
				if damaged {
					_, id := m.LeafWith(t, "payload of 7")
					p := m.Page(id)
					p[bytes.Index(p, []byte("payload of 7"))] ^= 1
				}
				unchanged(t, m, false, store.ErrFormat)
				path := m.Write(t)
				res, err := salvage.File(path, path+"2")
				if err != nil || damaged && (res.Saved != 39 || res.Lost != 1) || !damaged && res.Saved != 40 {
					t.Fatalf("%+v, %v", res, err)
				}
			})
		}
	}
}

// A damaged file in which nothing of an outbox is found is not replaced by an empty one.
func TestSalvageOfNothing(t *testing.T) {
	m := specimen(t, true)
	clear(m[2*pagestest.PageSize:])
	unchanged(t, m, false, store.ErrCorrupt)
	unchanged(t, m[:2*pagestest.PageSize], true, store.ErrCorrupt)
	m = database(t, 0, large)
	m.SetMeta(16, 1<<40) // the root
	unchanged(t, m, false, store.ErrCorrupt)
}

// A file whose root is the root of a lane is a torn copy of an outbox: damaged, not of another format.
func TestTornCopyIsDamaged(t *testing.T) {
	m := specimen(t, false)
	root := m.Page(m.Meta().Root)
	e := pagestest.Element(root, 0)
	lane := uint64(root[e.Value]) | uint64(root[e.Value+1])<<8
	m.SetMeta(16, lane)
	path := m.Write(t)
	_, err := store.Open(path, &prompt)
	storetest.WantError(t, err, store.ErrCorrupt)
	res, s := salvaged(t, m)
	if res.Saved+res.Suspicious < 900 {
		t.Errorf("%+v", res)
	}
	if n := len(storetest.List(t, s.Pending())) + len(storetest.List(t, s.Dead())); n < 900 {
		t.Errorf("%d items in the lane, want 900", n)
	}
}
