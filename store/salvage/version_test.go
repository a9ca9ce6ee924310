package salvage_test

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// ofVersion makes a file whose lane has n items, and says that it has a format.
func ofVersion(t *testing.T, o *store.Options, n int, version uint32, change func(ready *bolt.Bucket) error) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, o)
	storetest.Put(t, s, storetest.Events(n)...)
	storetest.CheckedClose(t, s)
	db := storetest.OpenDB(t, path)
	if err := db.Update(func(tx *bolt.Tx) error {
		lane := tx.Bucket([]byte(format.DefaultLane))
		if change != nil {
			if err := change(lane.Bucket(format.BucketReady)); err != nil {
				return err
			}
		}
		return lane.Bucket(format.BucketMeta).Put(format.MetaFormat, binary.BigEndian.AppendUint32(nil, version))
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A bit in the format version costs nothing: the records tell that it is damage, not a newer build.
func TestSalvageDamagedVersion(t *testing.T) {
	for name, c := range map[string]struct {
		o       *store.Options
		version uint32
	}{"plain": {&prompt, 1}, "sealed": {sealed(t), 2}} {
		for bit := 0; bit < 32; bit += campaign.Pick(1, 1, 5) {
			path := ofVersion(t, c.o, 3, c.version^1<<bit, nil)
			_, err := store.Open(path, c.o)
			storetest.WantError(t, err, store.ErrCorrupt)
			res, err := salvage.File(path, "")
			if err != nil || res.Saved != 3 || res.Lost != 0 || len(res.Problems) == 0 {
				t.Errorf("%s, bit %d: %+v, %v", name, bit, res, err)
				continue
			}
			if s := openStore(t, path, c.o); len(storetest.Drain(t, s)) != 3 {
				t.Errorf("%s, bit %d: %+v", name, bit, s.Counts())
			}
		}
	}
}

// A lane of a newer build is refused as such: nobody is told to salvage what is sound.
func TestNewerVersionIsNotDamage(t *testing.T) {
	newer := func(ready *bolt.Bucket) error { // records that only a newer build knows
		c := ready.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			n := append(format.Record{}, v...)
			n[0]++
			n.SetSum(n.BodySum(), k)
			if err := ready.Put(k, n); err != nil {
				return err
			}
		}
		return nil
	}
	for name, path := range map[string]string{
		"no records":    ofVersion(t, nil, 0, 3, nil),
		"other records": ofVersion(t, nil, 3, 3, newer),
		"known records": ofVersion(t, nil, 3, 4, nil),
	} {
		_, err := store.Open(path, &prompt)
		storetest.WantError(t, err, store.ErrFormat)
		res, err := salvage.File(path, "")
		if storetest.WantError(t, err, store.ErrFormat); err == nil {
			t.Errorf("%s: %+v", name, res)
		}
	}
	for _, version := range []uint32{0, 64, 1 << 31} {
		_, err := store.Open(ofVersion(t, nil, 0, version, nil), &prompt)
		storetest.WantError(t, err, store.ErrCorrupt)
	}
}
