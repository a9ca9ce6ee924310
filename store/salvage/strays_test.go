package salvage_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// twoLanes puts n items into each of two lanes of a file. Each payload names its lane and its place.
func twoLanes(t *testing.T, n int) (path string, s, eu *store.Store) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "outbox")
	s = openStore(t, path, nil)
	eu, err := s.Lane("eu", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	for name, lane := range map[string]*store.Store{format.DefaultLane: s, "eu": eu} {
		items := storetest.Events(n)
		for i := range items {
			items[i].Payload = fmt.Appendf(nil, "%s %03d %s", name, i, strings.Repeat("x", 200))
		}
		storetest.Put(t, lane, items...)
	}
	return path, s, eu
}

// One lane has lost a page. Delivered items of another lane are still on a page that the free list does
// not have. Salvage does not take them for what the first lane misses: they are not sent again.
func TestSalvageStrayOfAnotherLane(t *testing.T) {
	const n, gone = 300, 100
	path, s, eu := twoLanes(t, n)
	before := pagestest.Read(t, path)
	for _, lane := range []*store.Store{s, eu} {
		storetest.Settle(t, lane, storetest.Delivered(storetest.Claims(t, lane, gone)...)...)
	}
	storetest.CheckedClose(t, s)
	m := pagestest.Read(t, path)

	_, lost := m.LeafWith(t, format.DefaultLane+" 200 ")
	missing := int(pages.ParseHeader(m.Page(lost)).Count)
	clear(m.Page(lost))
	stray, _ := before.LeafWith(t, "eu 050 ")
	m = m[:len(m)/len(stray)*len(stray)]
	pages.Native.PutUint64(stray, uint64(len(m)/len(stray))) // the number of its place, as every sound page has
	m = append(m, stray...)

	res, s := salvaged(t, m)
	if strays := int(pages.ParseHeader(stray).Count); res.Saved != 2*(n-gone)-missing || res.Lost != missing || res.Suspicious != strays {
		t.Errorf("%+v, want %d saved, %d lost and %d suspicious", res, 2*(n-gone)-missing, missing, strays)
	}
	for _, it := range storetest.List(t, s.Pending()) {
		if !strings.HasPrefix(string(it.Payload), format.DefaultLane) {
			t.Fatalf("%.10q is to be sent by lane %q", it.Payload, format.DefaultLane)
		}
	}
}

// Two lanes have lost pages. An item whose place only one of them misses belongs to that lane for certain,
// and is saved there.
func TestSalvageTwoLanesDamaged(t *testing.T) {
	const n = 300
	path, s, _ := twoLanes(t, n)
	storetest.CheckedClose(t, s)
	m := pagestest.Read(t, path)
	_, first := m.LeafWith(t, format.DefaultLane+" 000 ")
	clear(m.Page(m.Above(t, first)))
	_, leaf := m.LeafWith(t, "eu 250 ")
	missing := int(pages.ParseHeader(m.Page(leaf)).Count)
	clear(m.Page(leaf))

	res, s := salvaged(t, m)
	// Items of the lost branch whose places are also missing in the other lane may belong to either.
	if res.Suspicious != missing || res.Saved != 2*n-2*missing {
		t.Errorf("%+v, want %d suspicious and %d saved", res, missing, 2*n-2*missing)
	}
	if got := len(storetest.List(t, s.Pending())); got != n-missing {
		t.Errorf("%d pending, want %d", got, n-missing)
	}
}

// A damaged record is kept among the dead, and its reason says what is wrong with it.
func TestSalvageSaysWhyARecordIsDead(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		damage     func(record []byte)
	}{
		{"a bit of the payload", "checksum does not hold", func(b []byte) { b[len(b)-20] ^= 8 }},
		{"the version", "record version 9", func(b []byte) { b[0] = 9 }},
	} {
		m := specimen(t, false)
		p := m.Page(m.Find(t, pages.KindLeaf, 5))
		e := pagestest.Element(p, 1)
		tt.damage(p[e.Value:e.End])
		_, s := salvaged(t, m)
		dead := storetest.List(t, s.Dead())
		if len(dead) != 1 || !strings.Contains(dead[0].LastErr, tt.want) {
			t.Errorf("%s: dead %+v, want one whose reason says %q", tt.name, dead, tt.want)
		}
	}
}
