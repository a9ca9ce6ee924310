package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// A bucketAt is a bucket that a root page leads to: a lane, a bucket of a lane, or one of an
// application.
type bucketAt struct {
	name  string
	exact bool   // the name and its length are as they were written, as far as can be told
	value []byte // root page, sequence, and perhaps a page of entries
	off   int64  // where value begins in the file
}

// root returns the page that the bucket leads to.
func (b *bucketAt) root() uint64 { return pages.Native.Uint64(b.value) }

// inline reports whether the entries of the bucket are in its value.
func (b *bucketAt) inline() bool { return len(b.value) > pages.BucketLen }

// bucketNames are the names of the buckets of a lane.
var bucketNames = [...]string{meta, ready, timed, later, dead, notes}

// rootDepth bounds the branches above the buckets of a root. A million lanes need fewer.
const rootDepth = 5

// bucketsOn returns the buckets on page id, which may be a branch; nil: it is not the root page of
// undamaged buckets.
func (s *salvager) bucketsOn(id uint64) []bucketAt { return s.bucketsBelow(id, rootDepth) }

func (s *salvager) bucketsBelow(id uint64, depth int) (found []bucketAt) {
	if id < pages.FirstPage || id >= s.pages || depth == 0 {
		return nil
	}
	off := int64(id) * s.PageSize
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	if err != nil {
		return nil
	}
	h := pages.ParseHeader(b)
	if h.ID != id || h.Kind != pages.KindLeaf && h.Kind != pages.KindBranch || h.Count == 0 {
		return nil
	}
	es, sound := s.elements(off, s.Size-off, h, h.Kind == pages.KindBranch)
	if !sound {
		return nil
	}
	for i := range es {
		e := &es[i]
		if h.Kind == pages.KindBranch {
			below := s.bucketsBelow(e.Child, depth-1)
			if below == nil {
				return nil
			}
			found = append(found, below...)
			continue
		}
		if size := e.End - e.Value; e.Flags != pages.FlagBucket || size < pages.BucketLen || size > pages.BucketLen+s.PageSize {
			return nil
		}
		b, err := s.entry(off, e)
		if err != nil {
			return nil
		}
		b = bytes.Clone(b)
		n := e.Value - e.Key
		found = append(found, bucketAt{name: string(b[:n]), exact: true, value: b[n:], off: off + e.Value})
	}
	return found
}

// lanePage returns the buckets of the lane whose root page is id, and whether the page is
// undamaged. nil: it is not the root page of a lane. It knows a lane by three of its buckets, and
// finds the others by their names, since every offset is implied by what lies around it.
func (s *salvager) lanePage(id uint64) (found []bucketAt, sound bool) {
	if id < pages.FirstPage || id >= s.pages {
		return nil, false
	}
	if found = s.bucketsOn(id); found != nil {
		if !isLane(found) {
			return nil, false
		}
		return found, !s.settle(id, found)
	}
	off := int64(id) * s.PageSize
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	if err != nil {
		return nil, false
	}
	h := pages.ParseHeader(b)
	if bits.OnesCount64(h.ID^id) > 1 {
		return nil, false
	}
	es, _ := s.elements(off, s.Size-off, h, false)
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	for i := range es {
		e := &es[i]
		size := e.End - e.Value
		at, name, exact := end, "", false
		if name, exact = s.nameAt(off, end); name == "" {
			at = e.Key
			name, exact = s.nameAt(off, at)
		}
		if name == "" {
			end = e.End
			continue
		}
		from := at + int64(len(name))
		if i+1 < len(es) && from+size != es[i+1].Key { // one of the two is wrong
			if next, _ := s.nameAt(off, es[i+1].Key); next != "" && next != name {
				size = es[i+1].Key - from
			}
		}
		if size < pages.BucketLen || size > pages.BucketLen+s.PageSize {
			size = pages.BucketLen
		}
		end = from + size
		if v, err := s.Bytes(off+from, size, &s.record); err == nil {
			found = append(found, bucketAt{name: name, exact: exact && e.Value-e.Key == int64(len(name)), value: bytes.Clone(v), off: off + from})
		}
	}
	if !isLane(found) {
		return nil, false
	}
	s.settle(id, found)
	return found, false
}

// settle decides which buckets of the lane on page id lie inside the page, and how long those are.
// The length of a value and the page that it leads to say so both, and one of them may be damaged.
// changed reports whether it was.
func (s *salvager) settle(id uint64, buckets []bucketAt) (changed bool) {
	end := int64(id+1) * s.PageSize
	for i := range buckets {
		b := &buckets[i]
		limit := end
		if i+1 < len(buckets) && buckets[i+1].off > b.off {
			limit = buckets[i+1].off - int64(len(buckets[i+1].name))
		}
		limit = max(limit, b.off+pages.BucketLen)
		size := int64(pages.BucketLen)
		if b.root() == 0 && (b.inline() || s.leafAt(b.off+pages.BucketLen, limit)) || b.inline() && pages.Inline(b.value[pages.BucketLen:]) == nil {
			size = limit - b.off
			if b.inline() && pages.Inline(b.value[pages.BucketLen:]) == nil {
				size = int64(len(b.value))
			}
		}
		changed = changed || size != int64(len(b.value)) || b.root() != 0 && size > pages.BucketLen
		if v, err := s.Bytes(b.off, size, &s.record); err == nil {
			b.value = bytes.Clone(v)
		}
	}
	return changed
}

// leafAt reports whether the header of a leaf lies at off, before limit. The place behind a bucket
// that is on pages of its own holds none.
func (s *salvager) leafAt(off, limit int64) bool {
	if limit-off < pages.HeaderLen {
		return false
	}
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	return err == nil && pages.ParseHeader(b).Kind == pages.KindLeaf
}

// nameAt returns the name of a bucket of a lane that begins at a place of the page at off; "":
// there is none. exact: no bit of it differs.
func (s *salvager) nameAt(off, at int64) (name string, exact bool) {
	for _, name := range bucketNames {
		b, err := s.Bytes(off+at, int64(len(name)), &s.record)
		if err != nil {
			continue
		}
		if n := differ(b, name); n <= 1 {
			return name, n == 0
		}
	}
	return "", false
}

// differ returns in how many bits b differs from a name of the same length.
func differ(b []byte, name string) (n int) {
	for i := range b {
		n += bits.OnesCount8(b[i] ^ name[i])
	}
	return n
}

// isLane reports whether buckets are those of a lane: three of its five, so that damage to one
// hides no lane, and one of an application that has the name of another is none.
func isLane(buckets []bucketAt) bool {
	n := 0
	for i := range buckets {
		if b := &buckets[i]; b.exact && b.name != notes && format.IsBucket(b.name) {
			n++
		}
	}
	return n >= 3
}

// laneOf returns the name and the root page of the lane that a bucket of the root leads to; 0:
// none. One of its name and its page may be damaged. The name that the lane itself has, with a
// checksum, tells which.
func (s *salvager) laneOf(b *bucketAt) (name string, id uint64) {
	id = b.root()
	lane, _ := s.lanePage(id)
	if s.freed(id) || b.inline() {
		lane = nil
	}
	was := ""
	if lane != nil {
		if was = s.nameOn(id); was == "" || was == b.name {
			return b.name, id
		}
	}
	for bit := range 64 {
		if near := id ^ 1<<bit; s.nameOn(near) == b.name && !s.freed(near) {
			return b.name, near
		}
	}
	if lane != nil {
		return was, id
	}
	return "", 0
}

// freed reports whether the newest commit, if its tree is read, says that page id is free.
func (s *salvager) freed(id uint64) bool { return s.out.trust == nil && s.free.Has(id) }

// rootEntry returns the bucket of an element of the root page, which should begin at start. If the
// offset or a length is damaged, the name of the lane that the bucket leads to tells where it ends.
func (s *salvager) rootEntry(off, start int64, e *pages.Element) (b bucketAt, ok bool) {
	n, size := e.Value-e.Key, e.End-e.Value
	if b, ok = s.bucketAt(off, start, n, size); ok {
		b.exact = e.Key == start && e.Flags == pages.FlagBucket
		if b.exact && b.inline() && b.root() == 0 {
			return b, true
		}
		if name, id := s.laneOf(&bucketAt{name: b.name, value: b.value[:pages.BucketLen]}); id != 0 || name != "" {
			b.exact = b.exact && !b.inline()
			b.value = b.value[:pages.BucketLen]
			return b, true
		}
	}
	for n := range int64(format.MaxLaneName) {
		found, ok := s.bucketAt(off, start, n+1, pages.BucketLen)
		if ok && s.nameOn(found.root()) == found.name && !s.freed(found.root()) {
			return found, true
		}
	}
	return b, ok
}

// bucketAt returns the bucket at an offset of the page at off, with a name of n bytes and a value
// of size.
func (s *salvager) bucketAt(off, at, n, size int64) (b bucketAt, ok bool) {
	if size < pages.BucketLen || size > pages.BucketLen+s.PageSize || n < 1 || n > s.PageSize || at < pages.HeaderLen {
		return b, false
	}
	raw, err := s.Bytes(off+at, n+size, &s.record)
	if err != nil {
		return b, false
	}
	raw = bytes.Clone(raw)
	return bucketAt{name: string(raw[:n]), value: raw[n:], off: off + at + n}, true
}

// unled reads the lanes that the root does not lead to, if the freelist tells which pages are in
// use. If all of them have been read then, the damage in the root hides no lane.
func (s *salvager) unled(m *pages.Meta) {
	lost := func(h hole) bool { return h.lane == "" }
	if s.free == nil || !slices.ContainsFunc(s.holes, lost) {
		return
	}
	var lanes []treePage
	below := make(map[uint64]bool)
	for id := uint64(pages.FirstPage); id < m.Pages; id++ { // leaves below a branch are no lanes
		for _, leaf := range s.leavesBelow(id) {
			below[leaf] = true
		}
	}
	for id := uint64(pages.FirstPage); id < m.Pages; id++ {
		if s.read.Has(id) || s.free.Has(id) || below[id] {
			continue
		}
		if name := s.nameOn(id); name != "" && s.out.lanes[name] == nil {
			s.out.lane(name)
			lanes = append(lanes, treePage{id: id, depth: 1, hole: hole{lane: name}})
		}
	}
	s.claimTrees(lanes)
	s.walkFrom(lanes)
	for id := uint64(pages.FirstPage); id < m.Pages; id++ {
		if id != m.Root && !s.read.Has(id) && !s.free.Has(id) {
			return
		}
	}
	s.holes = slices.DeleteFunc(s.holes, lost)
}

// leavesBelow returns the pages below page id, if that is a branch of the root page of a lane.
func (s *salvager) leavesBelow(id uint64) (leaves []uint64) {
	off := int64(id) * s.PageSize
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	if err != nil {
		return nil
	}
	h := pages.ParseHeader(b)
	if h.Kind != pages.KindBranch || s.free.Has(id) {
		return nil
	}
	if lane, _ := s.lanePage(id); lane == nil {
		return nil
	}
	es, _ := s.elements(off, s.Size-off, h, true)
	for i := range es {
		if es[i].Child < s.pages {
			leaves = append(leaves, es[i].Child)
		}
	}
	return leaves
}

// ledgerOn returns the ledger of the lane on page id; not ok: there is none.
func (s *salvager) ledgerOn(id uint64) (l format.Ledger, ok bool) {
	ok = l.Decode(s.metaOn(id, format.MetaLedger)) == nil
	return l, ok
}

// nameOn returns the name of the lane on page id; "": it is not known.
func (s *salvager) nameOn(id uint64) string {
	return string(format.CutSum(s.metaOn(id, format.MetaName)))
}

// secrets searches all pages for the secrets of lanes whose meta bucket was lost. The secret of a
// lane never changes, so an old copy is as good.
func (s *salvager) secrets() {
	for id := uint64(pages.FirstPage); id < s.pages; id++ {
		name := s.nameOn(id)
		if l := s.out.lanes[name]; name == "" || l == nil || l.known {
			continue
		}
		if secret := s.metaOn(id, format.MetaSecret); secret != nil {
			s.out.keepEntry(name, meta, format.MetaSecret, secret)
		}
	}
}

// metaOn returns what the lane on page id has in meta under a key; nil: nothing, or damage.
func (s *salvager) metaOn(id uint64, key []byte) []byte {
	buckets, _ := s.lanePage(id)
	for i := range buckets {
		if b := &buckets[i]; b.name == meta && b.inline() {
			return s.metaEntry(b.value[pages.BucketLen:], key)
		}
	}
	return nil
}

// metaEntry returns what an inline page of meta has under a key. The page may be damaged: the
// caller knows by a checksum whether the value is right.
func (s *salvager) metaEntry(page, key []byte) []byte {
	if len(page) < pages.HeaderLen {
		return nil
	}
	for i := range (len(page) - pages.HeaderLen) / pages.ElementLen {
		e := pages.ParseElement(page[pages.HeaderLen+i*pages.ElementLen:], i, false)
		if e.Value >= e.Key && e.End >= e.Value && e.End <= int64(len(page)) && bytes.Equal(page[e.Key:e.Value], key) {
			return page[e.Value:e.End]
		}
	}
	return nil
}

// lane reads the root page of a lane and returns the roots of its buckets. A bucket that is missing
// is a hole of the lane.
func (s *salvager) lane(at treePage) (below []treePage) {
	buckets, sound := s.lanePage(at.id)
	if buckets == nil {
		s.lose(at, errors.New("it is not the root page of a lane"))
		return nil
	}
	if !sound {
		s.problem("%w: page %d, the root page of lane %q", pages.ErrCorrupt, at.id, at.lane)
	}
	s.read.Add(at.id)
	for _, leaf := range s.leavesBelow(at.id) {
		s.read.Add(leaf)
	}
	ledger := s.countsOn(at.id)
	there := make(map[string]bool)
	for i := range buckets {
		b := &buckets[i]
		child := treePage{id: b.root(), depth: 2, hole: hole{lane: at.lane, bucket: b.name}}
		if !format.IsBucket(b.name) {
			if child.bucket = nearest(b.name); child.bucket == "" {
				s.lose(at, fmt.Errorf("lane %q has a bucket %q", at.lane, pages.Short([]byte(b.name))))
				continue
			}
			s.problem("%w: page %d: lane %q has a bucket %q", pages.ErrCorrupt, at.id, at.lane, pages.Short([]byte(b.name)))
		}
		there[child.bucket] = true
		if !b.inline() && holdsRecords(child.bucket) {
			if child.id = s.treeOf(at.lane, child.bucket, b.root(), ledger); child.id == 0 {
				child.id = b.root()
				s.lose(child, errors.New("it is the tree of another lane as much as of this one"))
				continue
			}
		}
		if b.inline() {
			s.inline(child, b.off+pages.BucketLen, int64(len(b.value)-pages.BucketLen))
		} else {
			below = append(below, child)
		}
	}
	for _, name := range bucketNames {
		if !there[name] && name != notes {
			at.bucket = name
			s.lose(at, errors.New("the bucket is missing"))
		}
	}
	return below
}

// nearest returns the bucket of a lane whose name differs in one bit; "": there is none.
func nearest(name string) string {
	for _, b := range bucketNames {
		if len(b) == len(name) && differ([]byte(name), b) == 1 {
			return b
		}
	}
	return ""
}
