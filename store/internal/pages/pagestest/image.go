// Package pagestest finds and damages pages in files for the tests.
package pagestest

import (
	"bytes"
	"hash/fnv"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox/store/internal/pages"
)

// PageSize is the page size of an [Image].
const PageSize = 4096

// An Image is a file in memory whose pages can be found and damaged.
type Image []byte

// Read reads the file at path.
func Read(t testing.TB, path string) Image {
	t.Helper()
	m, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Write puts m into a file of its own.
func (m Image) Write(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "outbox")
	if err := os.WriteFile(path, m, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Page returns a page, which is part of m.
func (m Image) Page(id uint64) []byte { return m[id*PageSize : (id+1)*PageSize] }

// Newest is the number of the newest meta page.
func (m Image) Newest() uint64 {
	a, _ := pages.ParseMeta(m[pages.HeaderLen:])
	b, _ := pages.ParseMeta(m[PageSize+pages.HeaderLen:])
	if b.TxID > a.TxID {
		return 1
	}
	return 0
}

// Meta is what the newest meta page says.
func (m Image) Meta() pages.Meta {
	p, _ := pages.ParseMeta(m.Page(m.Newest())[pages.HeaderLen:])
	return p
}

// SetMeta changes 8 bytes of the newest meta, and makes its checksum hold.
func (m Image) SetMeta(off int, v uint64) {
	b := m.Page(m.Newest())[pages.HeaderLen:]
	pages.Native.PutUint64(b[off:], v)
	sum := fnv.New64a()
	sum.Write(b[:pages.MetaLen-8])
	pages.Native.PutUint64(b[pages.MetaLen-8:], sum.Sum64())
}

// free are the pages that the newest meta's free list has; none if it has no free list.
func (m Image) free() map[uint64]bool {
	free := make(map[uint64]bool)
	if l := m.Meta().Freelist; l != pages.NoFreelist {
		p := m.Page(l)
		for i := range int(pages.ParseHeader(p).Count) {
			free[pages.Native.Uint64(p[pages.HeaderLen+8*i:])] = true
		}
	}
	return free
}

// first returns the first page in use of which is holds.
func (m Image) first(is func(page []byte, h pages.Header) bool) (id uint64, found bool) {
	free := m.free()
	for id := uint64(pages.FirstPage); id < m.Meta().Pages; id++ {
		p := m.Page(id)
		if h := pages.ParseHeader(p); !free[id] && h.ID == id && is(p, h) {
			return id, true
		}
	}
	return 0, false
}

// Find returns the first page in use with that kind and at least so many entries.
func (m Image) Find(t testing.TB, kind uint16, count int) uint64 {
	t.Helper()
	root := m.Meta().Root
	id, ok := m.first(func(_ []byte, h pages.Header) bool {
		return h.Kind == kind && int(h.Count) >= count && h.ID != root
	})
	if !ok {
		t.Fatalf("no page of kind %#x with %d entries", kind, count)
	}
	return id
}

// LeafWith returns a copy of the first leaf in use that holds some bytes, and its number.
func (m Image) LeafWith(t testing.TB, what string) (page []byte, id uint64) {
	t.Helper()
	id, ok := m.first(func(p []byte, h pages.Header) bool {
		return h.Kind == pages.KindLeaf && bytes.Contains(p, []byte(what))
	})
	if !ok {
		t.Fatalf("no leaf holds %q", what)
	}
	return bytes.Clone(m.Page(id)), id
}

// Above returns the branch in use whose first child is a page.
func (m Image) Above(t testing.TB, child uint64) uint64 {
	t.Helper()
	id, ok := m.first(func(p []byte, h pages.Header) bool {
		return h.Kind == pages.KindBranch && pages.ParseElement(p[pages.HeaderLen:], 0, true).Child == child
	})
	if !ok {
		t.Fatalf("no branch leads to page %d", child)
	}
	return id
}

// Element returns element i of a leaf.
func Element(leaf []byte, i int) pages.Element {
	return pages.ParseElement(leaf[pages.HeaderLen+i*pages.ElementLen:], i, false)
}

// Partly has Inspect leave out what it leaves out of large files.
func Partly(t testing.TB) {
	was := pages.AlwaysWhole
	pages.AlwaysWhole = 0
	t.Cleanup(func() { pages.AlwaysWhole = was })
}
