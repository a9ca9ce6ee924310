package salvage_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// laneRoot is the root page of a lane of a small file.
func laneRoot(t *testing.T, m pagestest.Image, name string) (page []byte) {
	t.Helper()
	root := m.Page(m.Meta().Root)
	for i := range int(pages.ParseHeader(root).Count) {
		if e := pagestest.Element(root, i); string(root[e.Key:e.Value]) == name {
			return m.Page(pages.Native.Uint64(root[e.Value:]))
		}
	}
	t.Fatalf("no lane %q", name)
	return nil
}

// inlinePage is the page inside the value of a bucket of a lane.
func inlinePage(t *testing.T, lane []byte, bucket []byte) []byte {
	t.Helper()
	for i := range int(pages.ParseHeader(lane).Count) {
		if e := pagestest.Element(lane, i); bytes.Equal(lane[e.Key:e.Value], bucket) {
			return lane[e.Value+pages.BucketLen : e.End]
		}
	}
	t.Fatalf("no bucket %q", bucket)
	return nil
}

// A damaged length in the meta bucket of a lane, which is small, costs no other lane its items: salvage does
// not spend on it what it may read.
func TestSalvageLengthsInMeta(t *testing.T) {
	m := fullImage(t, true, 0)
	want, err := contents(t, m.Write(t))
	if err != nil {
		t.Fatal(err)
	}
	n := int(pages.ParseHeader(inlinePage(t, laneRoot(t, m, format.DefaultLane), format.BucketMeta)).Count)
	for i := range n {
		for _, field := range []int{8, 12} { // the lengths of key and value
			for bit := 14; bit < 25; bit += campaign.Pick(1, 2, 10) {
				m := bytes.Clone(m)
				p := inlinePage(t, laneRoot(t, m, format.DefaultLane), format.BucketMeta)
				p[pages.HeaderLen+i*pages.ElementLen+field+bit/8] ^= 1 << (bit % 8)
				if err := salvagedFlip(t, m, want, true, 1); err != nil {
					t.Errorf("entry %d, byte %d, bit %d: %v", i, field, bit, err)
				}
			}
		}
	}
}

// A bucket of a lane seems to lie inside the root page of the lane, and does not: the number of its page is
// damaged. It is not taken for an empty one.
func TestSalvageBucketWithoutPage(t *testing.T) {
	for _, bucket := range [][]byte{format.BucketReady, format.BucketTimed} {
		m := fullImage(t, true, 0)
		want, err := contents(t, m.Write(t))
		if err != nil {
			t.Fatal(err)
		}
		lane := laneRoot(t, m, format.DefaultLane)
		for i := range int(pages.ParseHeader(lane).Count) {
			if e := pagestest.Element(lane, i); bytes.Equal(lane[e.Key:e.Value], bucket) {
				if pages.Native.Uint64(lane[e.Value:]) == 0 {
					t.Fatalf("%s lies inside the page", bucket)
				}
				pages.Native.PutUint64(lane[e.Value:], 0)
			}
		}
		if err := salvagedFlip(t, m, want, true, 1); err != nil {
			t.Errorf("%s: %v", bucket, err)
		}
	}
}

// The same events lie in two lanes, under the same Seqs and with the same payloads. One lane has lost a branch.
// That the other one holds such items does not hide those that are below it.
func TestSalvageOrphansOfTheSameEvents(t *testing.T) {
	for _, clean := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "outbox")
		s := openStore(t, path, nil)
		eu, err := s.Lane("eu", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		const n, gone = 300, 40
		items := storetest.Events(n)
		for i := range items {
			items[i].Payload = fmt.Appendf(nil, "%03d", i)
		}
		storetest.Put(t, s, items...)
		storetest.Put(t, eu, items...)
		storetest.Settle(t, eu, storetest.Delivered(storetest.Claims(t, eu, gone)...)...)
		m := pagestest.Read(t, path)
		storetest.CheckedClose(t, s)
		if clean {
			m = pagestest.Read(t, path)
		}
		lane := laneRoot(t, m, "eu")
		for i := range int(pages.ParseHeader(lane).Count) {
			if e := pagestest.Element(lane, i); bytes.Equal(lane[e.Key:e.Value], format.BucketReady) {
				clear(m.Page(pages.Native.Uint64(lane[e.Value:]))[:pages.HeaderLen])
			}
		}
		_, s = salvaged(t, m)
		if eu, err = s.Lane("eu", &prompt); err != nil {
			t.Fatal(err)
		}
		for name, lane := range map[string]*store.Store{format.DefaultLane: s, "eu": eu} {
			there := make(map[string]bool)
			for _, it := range slices.Concat(storetest.List(t, lane.Pending()), storetest.List(t, lane.Dead())) {
				there[string(it.Payload)] = true
			}
			for _, it := range items[gone:] {
				if !there[string(it.Payload)] {
					t.Errorf("clean %t: lane %q has lost %s", clean, name, it.Payload)
				}
			}
		}
	}
}
