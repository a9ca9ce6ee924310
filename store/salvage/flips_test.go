package salvage_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// full are the lanes of a fullImage and their options.
func full(t testing.TB) map[string]*store.Options {
	return map[string]*store.Options{format.DefaultLane: &prompt, "eu": &prompt, "us": &prompt, "vault": sealed(t)}
}

// fullImage is a file with several lanes: two in which the same events lie under the same IDs and Seqs,
// one that holds little, and a sealed one. Each has items of every state, and some are large. The
// payload of each names its lane.
//
// The layout says in which order the lanes are filled, and how many pages of earlier commits are left in
// a file that was not closed: none in layout 0, all in layout 1, some in the others. bbolt itself takes any
// free page for the next commit, so that which ones are left is chance.
func fullImage(t testing.TB, clean bool, layout int) pagestest.Image {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(layout), 0))
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	events := storetest.Events(70)
	for i := range events {
		events[i].Key = []string{"", "a", "b"}[i%3]
		if i%10 == 0 {
			events[i].Due = time.Now().Add(time.Hour)
		}
	}
	lanes := full(t)
	names := slices.Sorted(maps.Keys(lanes))
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var earlier []pagestest.Image
	for _, name := range names {
		lane, err := s, error(nil)
		if name != format.DefaultLane {
			if lane, err = s.Lane(name, lanes[name]); err != nil {
				t.Fatal(err)
			}
		}
		items := slices.Clone(events)
		if name == "us" {
			items = storetest.Events(6)
		}
		for i := range items {
			items[i].Payload = fmt.Appendf(nil, "%s %03d ", name, i)
			if i == 5 && name != "us" {
				items[i].Payload = append(items[i].Payload, make([]byte, 9000)...)
			} else if name != "us" {
				items[i].Payload = append(items[i].Payload, make([]byte, 150)...)
			}
		}
		storetest.Put(t, lane, items...)
		for i, it := range storetest.Claims(t, lane, 3) {
			earlier = append(earlier, pagestest.Read(t, path))
			switch i {
			case 0:
				storetest.Settle(t, lane, storetest.Delivered(it)...)
			case 1:
				storetest.Settle(t, lane, storetest.Failed(it, sender.Dead, time.Time{}))
			default:
				storetest.Settle(t, lane, storetest.Failed(it, sender.Retry, time.Now().Add(time.Hour)))
			}
		}
	}
	m := pagestest.Read(t, path)
	storetest.CheckedClose(t, s)
	if clean {
		return pagestest.Read(t, path)
	}
	for _, was := range earlier {
		m = withEarlier(m, was, func() bool { return layout == 1 || layout > 1 && rng.IntN(3) == 0 })
	}
	return m
}

// withEarlier adds to a file the pages of an earlier commit that it does not hold any more, behind its
// end. keep says for each of them whether it is added.
func withEarlier(m, was pagestest.Image, keep func() bool) pagestest.Image {
	m = m[:len(m)/pagestest.PageSize*pagestest.PageSize]
	there := make(map[string]bool) // without the number, which is that of the place
	for id := range uint64(len(m) / pagestest.PageSize) {
		there[string(m.Page(id)[8:])] = true
	}
	for id := uint64(pages.FirstPage); id < was.Meta().Pages; id++ {
		p := was.Page(id)
		h := pages.ParseHeader(p)
		if h.ID != id || h.Kind != pages.KindLeaf && h.Kind != pages.KindBranch || there[string(p[8:])] || !keep() {
			continue
		}
		at := len(m)
		m = append(m, was[id*pagestest.PageSize:(id+1+uint64(h.Overflow))*pagestest.PageSize]...)
		pages.Native.PutUint64(m[at:], uint64(at/pagestest.PageSize))
	}
	return m
}

// contents are the items of a file by the name of their lane and their payload, and whether they are
// pending.
func contents(t testing.TB, path string) (map[string]bool, error) {
	t.Helper()
	s, err := store.Open(path, &prompt)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found := make(map[string]bool)
	for name, o := range full(t) {
		lane := s
		if name != format.DefaultLane {
			if lane, err = s.Lane(name, o); err != nil {
				return nil, err
			}
		}
		for i, list := range []func(func(sender.Item, error) bool){lane.Dead(), lane.Pending()} {
			for it, err := range list {
				if err != nil {
					return nil, err
				}
				if strings.Contains(it.LastErr, "damaged") {
					continue // what is left of the record that suffered
				}
				key := name + ": " + string(it.Payload)
				if _, twice := found[key]; twice {
					return nil, fmt.Errorf("%.20q is there twice", key)
				}
				found[key] = i == 1
			}
		}
		if err := lane.Check(t.Context()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// rootPages are the root page of the file and those of its lanes, and how many bytes of each are used.
func rootPages(m pagestest.Image) map[uint64]int {
	used := func(p []byte) int {
		return int(pagestest.Element(p, int(pages.ParseHeader(p).Count)-1).End)
	}
	id := m.Meta().Root
	root := m.Page(id)
	found := map[uint64]int{id: used(root)}
	for i := range int(pages.ParseHeader(root).Count) {
		lane := pages.Native.Uint64(root[pagestest.Element(root, i).Value:])
		found[lane] = used(m.Page(lane))
	}
	return found
}

// One flipped bit in the root page or in the root page of a lane costs at most the record that it is in:
// every other item comes out in its own lane, whatever pages of earlier commits are left in the file. What
// comes out passes Check. After an unclean end a pointer to a bucket may lead to such a page, and cost
// more: all are told as lost or suspicious.
func TestSalvageEveryFlip(t *testing.T) {
	layouts, step := campaign.Pick(4, 4, 2), campaign.Pick(101, 1511, 12_007)
	for layout := range layouts {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("clean %t, layout %d", clean, layout), func(t *testing.T) {
				t.Parallel()
				m := fullImage(t, clean, layout)
				path := m.Write(t)
				want, err := contents(t, path)
				if err != nil {
					t.Fatal(err)
				}
				n := rand.IntN(step) // others each time
				used := rootPages(m)
				for _, id := range slices.Sorted(maps.Keys(used)) {
					for bit := range used[id] * 8 {
						if n++; n%step != 0 {
							continue
						}
						m := bytes.Clone(m)
						m[int(id)*pagestest.PageSize+bit/8] ^= 1 << (bit % 8)
						most := 1
						if !clean && inPointer(m[int(id)*pagestest.PageSize:], bit/8) {
							most = len(want) // but told
						}
						if err := salvagedFlip(t, m, want, clean, most); err != nil {
							t.Errorf("page %d (the root is %d), byte %d, bit %d: %v", id, pagestest.Image(m).Meta().Root, bit/8, bit%8, err)
						}
					}
				}
			})
		}
	}
}

// inPointer reports whether a byte of a leaf page belongs to the number of the page of a bucket.
func inPointer(page pagestest.Image, at int) bool {
	h := pages.ParseHeader(page)
	if h.Kind != pages.KindLeaf {
		return false
	}
	for i := range int(h.Count) {
		e := pages.ParseElement(page[pages.HeaderLen+i*pages.ElementLen:], i, false)
		if e.Flags != 0 && int64(at) >= e.Value && int64(at) < e.Value+8 {
			return true
		}
	}
	return false
}

// salvagedFlip salvages a file with one flipped bit, and returns what is wrong with what comes out. At
// most so many items may be missing, and all of them are told.
func salvagedFlip(t testing.TB, m pagestest.Image, want map[string]bool, clean bool, most int) error {
	path := filepath.Join(t.TempDir(), "outbox")
	defer os.Remove(path + "2")
	defer os.Remove(path)
	if err := os.WriteFile(path, m, 0o600); err != nil {
		return err
	}
	res, err := salvage.File(path, path+"2")
	if err != nil {
		return err
	}
	got, err := contents(t, path+"2")
	if err != nil {
		return fmt.Errorf("what comes out does not open: %v", err)
	}
	// The record that holds the bit is damaged. An older copy of it may be among the suspicious.
	missing, moved, dead := 0, 0, 0
	for key, pending := range want {
		is, ok := got[key]
		switch {
		case !ok:
			missing++
		case pending && !is:
			dead++
		case !pending && is:
			moved++
		}
	}
	if missing > most || missing > res.Lost+res.Suspicious || moved > 1 || dead > res.Suspicious || clean && missing+moved+dead > 1 {
		return fmt.Errorf("%d are missing, %d of the dead are pending, %d of the pending are dead; %+v", missing, moved, dead, res)
	}
	for key, pending := range got {
		lane, payload, _ := strings.Cut(key, ": ")
		if !strings.HasPrefix(payload, lane+" ") || want[key] != pending && pending && moved == 0 {
			return fmt.Errorf("%.20q is there, pending %t; %+v", key, pending, res)
		}
	}
	return nil
}

// In a file with one lane, no bit of the root makes another lane of it. A root that has lost its only
// element, or leads to another bucket, looks to Open like another program's: that is three bits. File
// saves all then too.
func TestSalvageRootOfOneLane(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	items := storetest.Events(150)
	for i := range items {
		items[i].Payload = fmt.Appendf(nil, "outbox %03d", i)
	}
	storetest.Put(t, s, items...)
	storetest.CheckedClose(t, s)
	m := pagestest.Read(t, path)
	root := m.Meta().Root
	step, foreign := campaign.Pick(1, 3, 31), 0
	for bit := 0; bit < rootPages(m)[root]*8; bit += step {
		bad := bytes.Clone(m)
		bad[int(root)*pagestest.PageSize+bit/8] ^= 1 << (bit % 8)
		if s, err := store.Open(pagestest.Image(bad).Write(t), &prompt); err == nil {
			s.Close()
		} else if !errors.Is(err, store.ErrCorrupt) {
			if foreign++; foreign > 3 || !errors.Is(err, store.ErrFormat) {
				t.Errorf("byte %d, bit %d: Open says %v, want that it is damaged", bit/8, bit%8, err)
			}
		}
		if res, s := salvaged(t, bad); res.Saved != 150 || s.Counts().Pending != 150 {
			t.Errorf("byte %d, bit %d: %+v", bit/8, bit%8, res)
		}
	}
}

// Without a root page the lanes of a file that was closed cleanly are found by the names that they have
// themselves.
func TestSalvageWithoutRoot(t *testing.T) {
	m := fullImage(t, true, 0)
	want, err := contents(t, m.Write(t))
	if err != nil {
		t.Fatal(err)
	}
	clear(m.Page(m.Meta().Root))
	path := m.Write(t)
	res, err := salvage.File(path, "")
	if err != nil || res.Saved != len(want) || res.Suspicious != 0 || res.Lost != 0 || res.LostUnknown || len(res.Problems) == 0 {
		t.Errorf("%+v, %v, want %d saved", res, err, len(want))
	}
	if got, err := contents(t, path); err != nil || !maps.Equal(got, want) {
		t.Errorf("%d items, want %d in their lanes; %v", len(got), len(want), err)
	}
}

// Two lanes have the same events under the same IDs and Seqs, and the root page of one of them is lost.
// What the other one holds does not hide its items, wherever they lie.
func TestSalvageOrphansOfRepeatedIDs(t *testing.T) {
	for _, clean := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "outbox")
		s := openStore(t, path, nil)
		eu, err := s.Lane("eu", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		items := storetest.Events(300)
		for name, lane := range map[string]*store.Store{format.DefaultLane: s, "eu": eu} {
			items := slices.Clone(items)
			for i := range items {
				items[i].Payload = fmt.Appendf(nil, "%s %03d", name, i)
			}
			storetest.Put(t, lane, items...)
		}
		m := pagestest.Read(t, path)
		storetest.CheckedClose(t, s)
		if clean {
			m = pagestest.Read(t, path)
		}
		p := m.Page(m.Meta().Root)
		e := pagestest.Element(p, 0) // eu
		clear(m.Page(pages.Native.Uint64(p[e.Value:])))
		_, s = salvaged(t, m)
		found := make(map[string]bool)
		for _, it := range slices.Concat(storetest.List(t, s.Pending()), storetest.List(t, s.Dead())) {
			found[string(it.Payload)] = true
		}
		lane, err := s.Lane("eu", &prompt)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range slices.Concat(storetest.List(t, lane.Pending()), storetest.List(t, lane.Dead())) {
			found[string(it.Payload)] = true
		}
		if len(found) != 600 {
			t.Errorf("clean %t: %d items, want 600", clean, len(found))
		}
	}
}
