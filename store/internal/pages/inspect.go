package pages

import (
	"fmt"
	"io"
	"math"
)

// An Inspection is what [Inspect] learned about a file.
type Inspection struct {
	PageSize int    // bytes
	TxID     uint64 // transaction of the newest commit
	Clean    bool   // closed cleanly: the newest commit kept a freelist
	Pages    uint64 // high-water mark: no page from here on is in use
	Free     uint64 // pages below the high-water mark that hold nothing
	// Fallback is what is wrong with the other meta page; nil: nothing. If it is not nil, the other
	// meta page may have held a newer commit, which is lost.
	Fallback error
}

// AlwaysWhole is the size in bytes up to which a file is read whole even if it was closed cleanly.
// Only tests change it.
var AlwaysWhole int64 = 64 << 20

// maxDepth bounds the pages and the buckets between the root and an entry. Half as many levels hold
// twice as many entries as any file has.
const maxDepth = 64

// Inspect checks the structure of the bbolt database in r, which has size bytes, as far as bbolt
// trusts it: a page that is not what its parent says makes bbolt panic, fault, loop, or free what
// is in use, partly in goroutines of its own. It reads each page at most once and in the order of
// the file, and needs some 30 bytes of memory for each page while it runs. It does not look into
// records.
//
// It leaves out most leaves of a file that was closed cleanly and is larger than [AlwaysWhole]: it
// reads one leaf of each parent. A file that was not closed cleanly is read whole, since bbolt
// reads all of it while it opens the file.
//
// An [ErrCorrupt] names the page and both numbers. [ErrFormat]: r is not a bbolt database, or has
// another version of the format. [ErrRead]: r could not be read. On an error the Inspection is as
// far as it was filled.
func Inspect(r io.ReaderAt, size int64) (Inspection, error) { return inspectPages(r, size, false) }

// InspectWhole is [Inspect] that leaves no page out.
func InspectWhole(r io.ReaderAt, size int64) (Inspection, error) { return inspectPages(r, size, true) }

func inspectPages(r io.ReaderAt, size int64, whole bool) (Inspection, error) {
	metas, bad, err := ReadMetas(r, size)
	if err != nil {
		return Inspection{}, err
	}
	newest, other := 0, 1
	if bad[0] != nil || bad[1] == nil && metas[1].TxID > metas[0].TxID {
		newest, other = 1, 0
	}
	m := metas[newest]
	found := Inspection{PageSize: int(m.PageSize), TxID: m.TxID, Clean: m.Freelist != NoFreelist, Pages: m.Pages}
	if bad[other] != nil {
		found.Fallback = fmt.Errorf("meta page %d, beside that of transaction %d: %w", other, m.TxID, bad[other])
	} else if metas[other].TxID+1 != m.TxID {
		found.Fallback = fmt.Errorf("meta page %d is of transaction %d, %d expected beside %d", other, metas[other].TxID, m.TxID-1, m.TxID)
	}
	if m.Pages > maxPages || int64(m.Pages) > size/m.PageSize {
		return found, fmt.Errorf("%w: %d pages are in use, the file of %d bytes has room for %d", ErrCorrupt, m.Pages, size, size/m.PageSize)
	}
	w := &inspector{
		Pager: Pager{R: r, Size: size, PageSize: m.PageSize},
		meta:  m,
		whole: whole || !found.Clean || int64(m.Pages)*m.PageSize <= AlwaysWhole,
		used:  NewSet(m.Pages),
	}
	if found.Clean {
		if err := w.freelist(); err != nil {
			return found, err
		}
		found.Free = w.free.Len()
	}
	if err := w.trees(); err != nil {
		return found, err
	}
	if !found.Clean {
		found.Free = m.Pages - FirstPage - w.used.Len()
	}
	return found, nil
}

// An inspector is one run of Inspect, in one goroutine. It walks the trees of all buckets together,
// one level after the other, and each level in the order of the file.
//
//   - No page is in used twice: a second reference to a page is an error. So a walk ends, and no
//     page is read twice.
//   - No page is in used and in free.
//   - A page is in used before it is visited.
//   - The keys of a page lie within the bounds that its parent gives, and ascend.
type inspector struct {
	Pager
	meta  Meta
	whole bool // leave nothing out
	used  Set  // pages that something leads to
	free  Set  // pages that the freelist has; nil: there is no freelist

	level, below []visit // the pages of this level, and of the next one, as far as it is known
	keys, after  []byte  // the keys that bound level and below, as appendKey writes them

	table, key, last, page []byte // buffers for Bytes
}

// A visit is one page that is to be read.
type visit struct {
	id    uint32 // number of the page
	keys  uint32 // where in keys its bounds are: least key, limit; noKeys: none
	depth uint8  // of its bucket: 0 the root bucket, 1 a bucket in it, 2 and more the buckets below
	root  bool   // it is the first page of its bucket
}

const noKeys = math.MaxUint32

// corrupt returns an error about a page.

func (w *inspector) corrupt(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d: %w", ErrCorrupt, id, fmt.Errorf(format, args...))
}

// take adds page id and the n pages after it to used. from is the page that refers to them. A page
// that is out of bounds, free, or in used already is an error.
func (w *inspector) take(id, n, from uint64) error {
	if id < FirstPage || id >= w.meta.Pages || n >= w.meta.Pages-id {
		return w.corrupt(from, "it leads to page %d and %d after it, %d to %d are in use", id, n, FirstPage, w.meta.Pages-1)
	}
	for last := id + n; id <= last; id++ {
		if w.used.Has(id) {
			return w.corrupt(from, "it leads to page %d, which is in use elsewhere", id)
		}
		if w.free.Has(id) {
			return w.corrupt(from, "it leads to page %d, which the freelist has too", id)
		}
		w.used.Add(id)
	}
	return nil
}

// ReadFreelist reads the freelist of a commit: the free pages, and the pages that the freelist
// itself takes. A commit without a freelist is [ErrCorrupt]: check for [NoFreelist] first.
func (p *Pager) ReadFreelist(m *Meta) (free, own Set, err error) {
	w := inspector{Pager: *p, meta: *m, used: NewSet(m.Pages)}
	err = w.freelist()
	return w.free, w.used, err
}

// freelist reads the freelist into free, and adds its own pages to used.
func (w *inspector) freelist() error {
	id := w.meta.Freelist
	if err := w.take(id, 0, 0); err != nil {
		return err
	}
	off := int64(id) * w.PageSize
	b, err := w.Bytes(off, HeaderLen+8, &w.page)
	if err != nil {
		return err
	}
	h := ParseHeader(b)
	if h.ID != id || h.Kind != KindFreelist {
		return w.corrupt(id, "number %d and kind %#x where a freelist, kind %#x, is expected", h.ID, h.Kind, KindFreelist)
	}
	n, off := uint64(h.Count), off+HeaderLen
	if h.Count == math.MaxUint16 {
		n, off = Native.Uint64(b[HeaderLen:]), off+8
	}
	room := (uint64(h.Overflow) + 1) * uint64(w.PageSize)
	if n > w.meta.Pages || h.Count == math.MaxUint16 && n < math.MaxUint16 || HeaderLen+8+n*8 > room+8 {
		return w.corrupt(id, "a freelist of %d entries in %d bytes, with %d pages in use", n, room, w.meta.Pages)
	}
	// bbolt makes room also for the pages that it takes for the list itself, and for one page more.
	if most := (HeaderLen + 8*(n+uint64(h.Overflow)+2)) / uint64(w.PageSize); uint64(h.Overflow) > most {
		return w.corrupt(id, "a freelist of %d entries has %d pages more, at most %d expected", n, h.Overflow, most)
	}
	if h.Overflow > 0 {
		if err := w.take(id+1, uint64(h.Overflow)-1, id); err != nil {
			return err
		}
	}
	w.free = NewSet(w.meta.Pages)
	for last := uint64(0); n > 0; {
		some := min(n, maxAhead/8)
		if b, err = w.Bytes(off, int64(some)*8, &w.page); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[8:] {
			free := Native.Uint64(b)
			if free < FirstPage || free >= w.meta.Pages || free <= last || w.used.Has(free) {
				return w.corrupt(id, "the freelist has page %d after %d, with %d pages in use", free, last, w.meta.Pages)
			}
			w.free.Add(free)
			last = free
		}
		n, off = n-some, off+int64(some)*8
	}
	return nil
}
