package salvage_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// An ID may be repeated: one event in two lanes, or one that failed and was put again. A sound file
// comes out with all of them, each in its own lane.
func TestSalvageRepeatedIDs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	eu, err := s.Lane("eu", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	items := storetest.Events(300)
	for _, lane := range []*store.Store{s, eu} {
		storetest.Put(t, lane, items...)
		for _, it := range storetest.Claims(t, lane, 100) {
			storetest.Settle(t, lane, storetest.Failed(it, sender.Dead, time.Time{}))
		}
		again := items[:50] // of the dead
		storetest.Put(t, lane, again...)
		storetest.Put(t, lane, again...)
	}
	storetest.CheckedClose(t, s)

	res, err := salvage.File(path, "")
	if err != nil || res.Saved != 800 || res.Suspicious != 0 || res.Lost != 0 || len(res.Problems) != 0 {
		t.Fatalf("%+v, %v, want 800 saved", res, err)
	}
	s = openStore(t, path, nil)
	if eu, err = s.Lane("eu", &prompt); err != nil {
		t.Fatal(err)
	}
	for name, lane := range map[string]*store.Store{"outbox": s, "eu": eu} {
		if c := lane.Counts(); c.Pending != 300 || c.Dead != 100 {
			t.Errorf("%s: %d pending and %d dead, want 300 and 100", name, c.Pending, c.Dead)
		}
	}
}
