package salvage_test

import (
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// Lost counts what is missing, or LostUnknown says that it cannot be known: nobody reads "0 lost" of a
// file that was cut short.
func TestSalvageSaysThatTheLossIsUnknown(t *testing.T) {
	const n = 3000
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	for range 3 {
		storetest.Put(t, s, storetest.Events(n/3)...)
	}
	storetest.CheckedClose(t, s)
	m := pagestest.Read(t, path)
	meta := m.Meta()
	sound, _ := salvaged(t, m)
	if sound.Saved != n || sound.LostUnknown {
		t.Fatalf("of the sound file: %+v", sound)
	}
	unknown, known := 0, 0
	for i := uint64(0); i < 20; i += uint64(campaign.Pick(1, 1, 3)) {
		size := meta.Pages * pagestest.PageSize * (i + 1) / 21
		res, s := salvaged(t, m[:max(size, (meta.Root+1)*pagestest.PageSize*(i%2))])
		there := len(storetest.List(t, s.Pending())) + len(storetest.List(t, s.Dead()))
		if missing := n - there; res.LostUnknown {
			unknown++
		} else if known++; res.Lost < missing {
			t.Errorf("cut at byte %d: %d are missing; %+v", size, missing, res)
		}
		storetest.CheckedClose(t, s)
	}
	t.Logf("%d cuts after which the loss is unknown, %d after which it is known", unknown, known)
	if unknown == 0 {
		t.Error("no cut hides the ledger")
	}
}

// The ledger of the newest commit tells how many are lost with a page.
func TestSalvageKnowsWhatALeafHeld(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := specimen(t, clean)
		clear(m.Page(m.Find(t, pages.KindLeaf, 5)))
		if res, _ := salvaged(t, m); res.LostUnknown || res.Lost == 0 {
			t.Errorf("clean %t: %+v", clean, res)
		}
	}
}
