package store

import (
	"fmt"
	"io"
	"math"
)

// inspection is what inspect found out about a file.
type inspection struct {
	pageSize int
	txid     uint64 // of the newest commit
	clean    bool   // closed cleanly: the newest commit kept its freelist
	pages    uint64 // the high-water mark: no page from here on is in use
	free     uint64 // pages below it that hold nothing
	fallback error  // what is wrong with the other meta page, so that the newest commit may be lost; nil: nothing
}

// alwaysWhole is how large a file is read whole although it was closed cleanly, in bytes; tests lower it.
var alwaysWhole int64 = 64 << 20

// maxDepth bounds the pages and the buckets between the root and an entry. Twice as many entries as
// any file holds fit below half of it.
const maxDepth = 64

// inspect reads the structure of the bbolt database in r, which has size bytes, as far as bbolt
// trusts it blindly: a page that is not what its parent says makes bbolt panic, fault, loop, or free
// what is in use, partly in goroutines of its own. It reads with pread, each page at most once and in
// the order of the file, and needs some 30 bytes for each page while it runs.
//
// A file that was closed cleanly and is larger than alwaysWhole is not read whole: its leaves are left
// out but for one of each parent. One that was not is read by bbolt when it is opened, and hence here.
//
// What is wrong is ErrCorrupt, with the page and both numbers; ErrFormat: it is no bbolt database, or
// one of another version; sender.ErrStorage: it could not be read.
func inspect(r io.ReaderAt, size int64) (inspection, error) { return inspectPages(r, size, false) }

// inspectWhole is inspect that leaves nothing out.
func inspectWhole(r io.ReaderAt, size int64) (inspection, error) { return inspectPages(r, size, true) }

func inspectPages(r io.ReaderAt, size int64, whole bool) (inspection, error) {
	metas, bad, err := readMetas(r, size)
	if err != nil {
		return inspection{}, err
	}
	newest, other := 0, 1
	if bad[0] != nil || bad[1] == nil && metas[1].txid > metas[0].txid {
		newest, other = 1, 0
	}
	m := metas[newest]
	found := inspection{pageSize: int(m.pageSize), txid: m.txid, clean: m.freelist != noFreelist, pages: m.pages}
	if bad[other] != nil {
		found.fallback = fmt.Errorf("meta page %d, beside that of transaction %d: %w", other, m.txid, bad[other])
	} else if metas[other].txid+1 != m.txid {
		found.fallback = fmt.Errorf("meta page %d is of transaction %d, %d expected beside %d", other, metas[other].txid, m.txid-1, m.txid)
	}
	if m.pages > maxPages || int64(m.pages) > size/m.pageSize {
		return found, fmt.Errorf("%w: %d pages are in use, the file of %d bytes has room for %d", ErrCorrupt, m.pages, size, size/m.pageSize)
	}
	w := &inspector{
		pager: pager{r: r, size: size, pageSize: m.pageSize},
		meta:  m,
		whole: whole || !found.clean || int64(m.pages)*m.pageSize <= alwaysWhole,
		used:  newPageSet(m.pages),
	}
	if found.clean {
		if err := w.freelist(); err != nil {
			return found, err
		}
		found.free = w.free.len()
	}
	if err := w.trees(); err != nil {
		return found, err
	}
	if !found.clean {
		found.free = m.pages - firstPage - w.used.len()
	}
	return found, nil
}

// An inspector is one run of inspect.
type inspector struct {
	pager
	meta       metaPage
	whole      bool
	used, free pageSet // no page is in both

	level, below []visit // pages to be read now, and those they lead to
	keys, after  []byte  // the keys that bound them: length 2, key

	table, key, last, page []byte // buffers
}

// A visit is one page that is to be read.
type visit struct {
	id    uint32
	keys  uint32 // where the least key of the page is; behind it that of the next; noKeys: it has no bounds
	depth uint8  // of its bucket: 0 the root, 1 those that it holds, 2 and more those that they hold
	root  bool   // it is the first page of its bucket
}

const noKeys = math.MaxUint32

func (w *inspector) corrupt(id uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d: %w", ErrCorrupt, id, fmt.Errorf(format, args...))
}

// take notes that page id, to which from refers, and the n after it are in use, once.
func (w *inspector) take(id, n, from uint64) error {
	if id < firstPage || id >= w.meta.pages || n >= w.meta.pages-id {
		return w.corrupt(from, "it leads to page %d and %d after it, %d to %d are in use", id, n, firstPage, w.meta.pages-1)
	}
	for last := id + n; id <= last; id++ {
		if w.used.has(id) {
			return w.corrupt(from, "it leads to page %d, which is in use elsewhere", id)
		}
		if w.free.has(id) {
			return w.corrupt(from, "it leads to page %d, which the freelist has too", id)
		}
		w.used.add(id)
	}
	return nil
}

// freelist reads which pages are free.
func (w *inspector) freelist() error {
	id := w.meta.freelist
	if err := w.take(id, 0, 0); err != nil {
		return err
	}
	off := int64(id) * w.pageSize
	b, err := w.bytes(off, headerLen+8, &w.page)
	if err != nil {
		return err
	}
	h := parseHeader(b)
	if h.id != id || h.kind != kindFreelist {
		return w.corrupt(id, "number %d and kind %#x where a freelist, kind %#x, is expected", h.id, h.kind, kindFreelist)
	}
	n, off := uint64(h.count), off+headerLen
	if h.count == math.MaxUint16 {
		n, off = native.Uint64(b[headerLen:]), off+8
	}
	room := (uint64(h.overflow) + 1) * uint64(w.pageSize)
	if n > w.meta.pages || h.count == math.MaxUint16 && n < math.MaxUint16 || headerLen+8+n*8 > room+8 {
		return w.corrupt(id, "a freelist of %d entries in %d bytes, with %d pages in use", n, room, w.meta.pages)
	}
	// bbolt gives it room for the pages that it takes for itself, and one page more.
	if most := (headerLen + 8*(n+uint64(h.overflow)+2)) / uint64(w.pageSize); uint64(h.overflow) > most {
		return w.corrupt(id, "a freelist of %d entries has %d pages more, at most %d expected", n, h.overflow, most)
	}
	if h.overflow > 0 {
		if err := w.take(id+1, uint64(h.overflow)-1, id); err != nil {
			return err
		}
	}
	w.free = newPageSet(w.meta.pages)
	for last := uint64(0); n > 0; {
		some := min(n, maxAhead/8)
		if b, err = w.bytes(off, int64(some)*8, &w.page); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[8:] {
			free := native.Uint64(b)
			if free < firstPage || free >= w.meta.pages || free <= last || w.used.has(free) {
				return w.corrupt(id, "the freelist has page %d after %d, with %d pages in use", free, last, w.meta.pages)
			}
			w.free.add(free)
			last = free
		}
		n, off = n-some, off+int64(some)*8
	}
	return nil
}
