package pages_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

func TestMain(m *testing.M) { campaign.Run(m) }

// inspectFile is inspect of the file at path.
func inspectFile(path string) (pages.Inspection, error) {
	f, err := os.Open(path)
	if err != nil {
		return pages.Inspection{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return pages.Inspection{}, err
	}
	return pages.Inspect(f, info.Size())
}

// specimen is a file with a lane of a thousand items, some large, closed cleanly or not.
func specimen(t testing.TB, clean bool) pagestest.Image {
	return storetest.Specimen(t, clean, func(path string) (storetest.Lane, error) {
		return store.Open(path, &store.Options{Gather: -1})
	})
}

func TestInspectSound(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := specimen(t, clean)
		got, err := pages.Inspect(bytes.NewReader(m), int64(len(m)))
		if err != nil || got.Fallback != nil || got.Clean != clean || got.PageSize != os.Getpagesize() || got.Pages != m.Meta().Pages || got.TxID != m.Meta().TxID {
			t.Errorf("clean %t: %+v, %v", clean, got, err)
		}
	}
}

// What bbolt makes of any use is sound, whole or in part, and its free pages are counted.
func TestInspectAgreesWithBolt(t *testing.T) {
	for _, pageSize := range []int{0, 1024, 16384} {
		rng := rand.New(rand.NewPCG(uint64(pageSize), 1))
		path := filepath.Join(t.TempDir(), "db")
		db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, PageSize: pageSize, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		for step := range campaign.Pick(60, 30, 8) {
			db.NoFreelistSync = rng.IntN(2) == 0
			if err := db.Update(func(tx *bolt.Tx) error {
				for range rng.IntN(10) {
					if err := scribble(tx, rng); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			for _, most := range []int64{0, 1 << 40} {
				was := pages.AlwaysWhole
				pages.AlwaysWhole = most
				got, err := inspectFile(path)
				pages.AlwaysWhole = was
				if err != nil || got.Fallback != nil || got.Clean == db.NoFreelistSync {
					t.Fatalf("page size %d, step %d: %+v, %v", pageSize, step, got, err)
				}
				if want := uint64(db.Stats().FreePageN + db.Stats().PendingPageN); got.Free != want {
					t.Fatalf("page size %d, step %d: %d free, %d expected", pageSize, step, got.Free, want)
				}
			}
		}
		db.Close()
	}
}

// scribble puts into some bucket, or deletes from it.
func scribble(tx *bolt.Tx, rng *rand.Rand) error {
	b, err := tx.CreateBucketIfNotExists([]byte{byte('a' + rng.IntN(4))})
	for range rng.IntN(3) {
		if err == nil {
			b, err = b.CreateBucketIfNotExists([]byte{0, byte(rng.IntN(5))})
		}
	}
	if err != nil {
		return err
	}
	if rng.IntN(4) == 0 {
		c := b.Cursor()
		for k, v := c.First(); k != nil && rng.IntN(200) > 0; k, v = c.Next() {
			if v != nil {
				if err := c.Delete(); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for range rng.IntN(150) {
		size := rng.IntN(300)
		if rng.IntN(50) == 0 {
			size = rng.IntN(20000)
		}
		if err := b.Put(fmt.Appendf(nil, "%0*d", 1+rng.IntN(30), rng.IntN(10000)), make([]byte, size)); err != nil {
			return err
		}
	}
	return nil
}

func TestInspectDamage(t *testing.T) {
	element := func(p []byte, i, field int) []byte { return p[pages.HeaderLen+i*pages.ElementLen+4*field:] }
	add := func(b []byte, n uint32) { pages.Native.PutUint32(b, pages.Native.Uint32(b)+n) }
	for name, c := range map[string]struct {
		clean  bool
		damage func(t *testing.T, m pagestest.Image)
		say    string
	}{
		"high-water mark":    {true, func(_ *testing.T, m pagestest.Image) { m.SetMeta(40, 1<<30) }, "pages are in use"},
		"root out of bounds": {true, func(_ *testing.T, m pagestest.Image) { m.SetMeta(16, m.Meta().Pages) }, "leads to page"},
		"root is a meta":     {false, func(_ *testing.T, m pagestest.Image) { m.SetMeta(16, 1) }, "leads to page 1"},
		"root is free": {true, func(t *testing.T, m pagestest.Image) {
			m.SetMeta(16, pages.Native.Uint64(m.Page(m.Meta().Freelist)[pages.HeaderLen:]))
		}, "freelist has too"},
		"freelist out of bounds":  {true, func(_ *testing.T, m pagestest.Image) { m.SetMeta(32, 1<<20) }, "leads to page"},
		"freelist kind":           {true, func(_ *testing.T, m pagestest.Image) { m.Page(m.Meta().Freelist)[8] ^= 2 }, "where a freelist"},
		"freelist number":         {true, func(_ *testing.T, m pagestest.Image) { m.Page(m.Meta().Freelist)[0] ^= 1 }, "where a freelist"},
		"freelist count":          {true, func(_ *testing.T, m pagestest.Image) { pages.Native.PutUint16(m.Page(m.Meta().Freelist)[10:], 60000) }, "a freelist of 60000"},
		"freelist counted within": {true, func(_ *testing.T, m pagestest.Image) { pages.Native.PutUint16(m.Page(m.Meta().Freelist)[10:], 65535) }, "freelist"},
		"freelist overflow":       {true, func(_ *testing.T, m pagestest.Image) { m.Page(m.Meta().Freelist)[12] ^= 4 }, "pages more"},
		"freelist order":          {true, func(_ *testing.T, m pagestest.Image) { add(m.Page(m.Meta().Freelist)[pages.HeaderLen:], 1<<10) }, "the freelist has page"},
		"freelist has a page in use": {true, func(t *testing.T, m pagestest.Image) {
			p := m.Page(m.Meta().Freelist)
			n := int(pages.ParseHeader(p).Count)
			branch := m.Find(t, pages.KindBranch, 2)
			i := 0
			for ; i < n && pages.Native.Uint64(p[pages.HeaderLen+8*i:]) < branch; i++ {
			}
			pages.Native.PutUint64(p[pages.HeaderLen+8*max(0, i-1):], branch)
		}, "freelist"},
		"branch number": {true, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindBranch, 2))[0] ^= 1 }, "number"},
		"branch kind":   {true, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindBranch, 2))[8] = pages.KindFreelist }, "kind 0x10"},
		"branch empty": {true, func(t *testing.T, m pagestest.Image) {
			pages.Native.PutUint16(m.Page(m.Find(t, pages.KindBranch, 2))[10:], 0)
		}, "no entries"},
		"branch count":    {true, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindBranch, 2))[10] ^= 1 }, "entry 0"},
		"branch overflow": {true, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindBranch, 2))[12] ^= 1 }, ""},
		"branch key order": {true, func(t *testing.T, m pagestest.Image) {
			p := m.Page(m.Find(t, pages.KindBranch, 3))
			e := pages.ParseElement(p[pages.HeaderLen+pages.ElementLen:], 1, true)
			p[e.Key] = 0xff
		}, "expected"},
		"branch key offset": {true, func(t *testing.T, m pagestest.Image) { add(element(m.Page(m.Find(t, pages.KindBranch, 2)), 1, 0), 8) }, "entry 1"},
		"branch key length": {true, func(t *testing.T, m pagestest.Image) {
			add(element(m.Page(m.Find(t, pages.KindBranch, 2)), 1, 1), 1<<20)
		}, "entry 1"},
		"branch child": {true, func(t *testing.T, m pagestest.Image) {
			pages.Native.PutUint64(element(m.Page(m.Find(t, pages.KindBranch, 2)), 1, 2), 1<<40)
		}, "leads to page"},
		"branch child twice": {true, func(t *testing.T, m pagestest.Image) {
			p := m.Page(m.Find(t, pages.KindBranch, 3))
			copy(element(p, 2, 2)[:8], element(p, 1, 2))
		}, "in use elsewhere"},
		"branch leads to itself": {false, func(t *testing.T, m pagestest.Image) {
			id := m.Find(t, pages.KindBranch, 2)
			pages.Native.PutUint64(element(m.Page(id), 1, 2), id)
		}, "in use elsewhere"},
		"lane's flag": {true, func(_ *testing.T, m pagestest.Image) { element(m.Page(m.Meta().Root), 0, 0)[0] = 0 }, "flags"},
		"lane's root": {true, func(_ *testing.T, m pagestest.Image) {
			p := m.Page(m.Meta().Root)
			pages.Native.PutUint64(p[pages.ParseElement(p[pages.HeaderLen:], 0, false).Value:], 1<<33)
		}, "leads to page"},
		"inline bucket": {true, func(t *testing.T, m pagestest.Image) {
			p := m.Page(m.Meta().Root)
			p = m.Page(pages.Native.Uint64(p[pages.ParseElement(p[pages.HeaderLen:], 0, false).Value:]))
			meta := pages.ParseElement(p[pages.HeaderLen+2*pages.ElementLen:], 2, false) // behind dead and later
			p[meta.Value+pages.BucketLen+pages.HeaderLen+4] ^= 1
		}, "bucket at byte"},
		"leaf number": {false, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindLeaf, 5))[1] ^= 1 }, "number"},
		"leaf kind":   {false, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindLeaf, 5))[9] ^= 1 }, "kind"},
		"leaf count":  {false, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindLeaf, 5))[10]-- }, "entry 0"},
		"leaf empty": {false, func(t *testing.T, m pagestest.Image) {
			pages.Native.PutUint16(m.Page(m.Find(t, pages.KindLeaf, 5))[10:], 0)
		}, "no entries"},
		"leaf overflow":     {false, func(t *testing.T, m pagestest.Image) { m.Page(m.Find(t, pages.KindLeaf, 5))[12] ^= 1 }, ""},
		"leaf value length": {false, func(t *testing.T, m pagestest.Image) { add(element(m.Page(m.Find(t, pages.KindLeaf, 5)), 1, 3), 1) }, "entry 2"},
		"leaf key offset":   {false, func(t *testing.T, m pagestest.Image) { add(element(m.Page(m.Find(t, pages.KindLeaf, 5)), 0, 1), 1) }, "entry 0"},
		"leaf key length": {false, func(t *testing.T, m pagestest.Image) {
			pages.Native.PutUint32(element(m.Page(m.Find(t, pages.KindLeaf, 5)), 1, 2), 0)
		}, "entry 1"},
		"leaf flags": {false, func(t *testing.T, m pagestest.Image) { element(m.Page(m.Find(t, pages.KindLeaf, 5)), 1, 0)[1] = 1 }, "flags"},
		"leaf key order": {false, func(t *testing.T, m pagestest.Image) {
			p := m.Page(m.Find(t, pages.KindLeaf, 5))
			p[pages.ParseElement(p[pages.HeaderLen:], 0, false).Key] = 0xff
		}, "key"},
		"zero leaf":  {false, func(t *testing.T, m pagestest.Image) { clear(m.Page(m.Find(t, pages.KindLeaf, 5))) }, "number 0"},
		"both metas": {true, func(_ *testing.T, m pagestest.Image) { m[pages.HeaderLen+20] ^= 1; m[4096+pages.HeaderLen+20] ^= 1 }, "checksum"},
		"no metas":   {true, func(_ *testing.T, m pagestest.Image) { clear(m[:8192]) }, "no meta page is valid"},
	} {
		t.Run(name, func(t *testing.T) {
			pagestest.Partly(t)
			m := specimen(t, c.clean)
			c.damage(t, m)
			_, err := pages.Inspect(bytes.NewReader(m), int64(len(m)))
			if !errors.Is(err, pages.ErrCorrupt) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v, want ErrCorrupt with %q", err, c.say)
			}
			if err != nil && strings.Count(err.Error(), "no magic number") > 1 {
				t.Errorf("%v: it says one thing twice", err)
			}
		})
	}
}

func TestInspectFallback(t *testing.T) {
	for name, damage := range map[string]func(m pagestest.Image){
		"newest damaged": func(m pagestest.Image) { m.Page(m.Newest())[pages.HeaderLen+41] ^= 4 },
		"other damaged":  func(m pagestest.Image) { m.Page(1 - m.Newest())[pages.HeaderLen+41] ^= 4 },
		"other zero":     func(m pagestest.Image) { clear(m.Page(1 - m.Newest())) },
		"newest zero":    func(m pagestest.Image) { clear(m.Page(m.Newest())) },
		"far apart":      func(m pagestest.Image) { m.SetMeta(48, m.Meta().TxID+2) },
	} {
		m := specimen(t, false)
		damage(m)
		got, err := pages.Inspect(bytes.NewReader(m), int64(len(m)))
		if err != nil || got.Fallback == nil || got.Pages == 0 {
			t.Errorf("%s: %+v, %v, want a fallback", name, got, err)
		}
	}
}

func TestInspectForeign(t *testing.T) {
	newer := specimen(t, true)
	newest := newer.Newest()
	newer.SetMeta(0, pages.BoltMagic|3<<32)
	copy(newer.Page(1-newest), newer.Page(newest))
	for name, m := range map[string][]byte{"text": bytes.Repeat([]byte("no database "), 4000), "zeros": make([]byte, 1<<20), "short": {1, 2, 3}, "newer": newer} {
		if _, err := pages.Inspect(bytes.NewReader(m), int64(len(m))); !errors.Is(err, pages.ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

func TestInspectTruncated(t *testing.T) {
	m := specimen(t, false)
	for size := len(m) - 4096; size > 0; size -= 20011 {
		if int64(size) >= int64(m.Meta().Pages)*4096 {
			continue // what is gone was not in use
		}
		if _, err := pages.Inspect(bytes.NewReader(m[:size]), int64(size)); err == nil {
			t.Errorf("%d bytes of %d are sound", size, len(m))
		}
	}
}

type failingReader struct{}

func (failingReader) ReadAt([]byte, int64) (int, error) { return 0, errors.New("bad sector") }

func TestInspectUnreadable(t *testing.T) {
	if _, err := pages.Inspect(failingReader{}, 1<<20); err == nil || !strings.Contains(err.Error(), "bad sector") {
		t.Errorf("%v", err)
	}
}

// FuzzInspect: nothing makes inspect panic, loop, or need much memory.
func FuzzInspect(f *testing.F) {
	pages.AlwaysWhole = 0
	clean, killed := specimen(f, true), specimen(f, false)
	f.Add([]byte("no database"), uint64(0), uint32(0), byte(0))
	f.Add([]byte(nil), uint64(5), uint32(16), byte(0xff))
	f.Fuzz(func(t *testing.T, patch []byte, page uint64, at uint32, which byte) {
		_, _ = pages.Inspect(bytes.NewReader(patch), int64(len(patch)))
		_, _ = pages.Inspect(bytes.NewReader(patch), 1<<40)
		m := clean
		if which&1 == 1 {
			m = killed
		}
		m = bytes.Clone(m)
		page %= m.Meta().Pages
		copy(m.Page(page)[at%4096:], patch)
		if which&2 == 2 { // what no bit flip does: a checksum that holds
			v := uint64(at)
			for _, b := range patch {
				v = v<<8 | uint64(b)
			}
			m.SetMeta([...]int{16, 32, 40, 48}[which>>2&3], v)
		}
		_, _ = pages.Inspect(bytes.NewReader(m), int64(len(m)))
	})
}
