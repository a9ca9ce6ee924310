package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"

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

// most levels of branches above the buckets of a root: more than a million lanes need.
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
		return found, true
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
	return found, false
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

// isLane reports whether buckets are those of a lane.
func isLane(buckets []bucketAt) bool {
	n := 0
	for i, name := range bucketNames {
		for j := range buckets {
			if b := &buckets[j]; b.exact && b.name == name && i < 5 { // notes may be missing
				n++
			}
		}
	}
	return n >= 3
}

// isForeign reports whether a bucket of the root, which is not a lane, is certainly one of an
// application: what it leads to is sound, and nothing of a lane.
func (s *salvager) isForeign(b *bucketAt) bool {
	if b.inline() {
		return b.root() == 0 && pages.Inline(b.value[pages.BucketLen:]) == nil
	}
	id := b.root()
	for range rootDepth {
		if id < pages.FirstPage || id >= s.pages {
			return false
		}
		off := int64(id) * s.PageSize
		raw, err := s.Bytes(off, pages.HeaderLen, &s.table)
		if err != nil {
			return false
		}
		h := pages.ParseHeader(raw)
		if h.ID != id || h.Kind != pages.KindBranch && h.Kind != pages.KindLeaf {
			return false
		}
		if h.Kind == pages.KindLeaf && h.Count == 0 {
			return true
		}
		es, sound := s.elements(off, s.Size-off, h, h.Kind == pages.KindBranch)
		if !sound || len(es) == 0 {
			return false
		}
		if h.Kind == pages.KindLeaf {
			return !s.ofLane(off, es)
		}
		id = es[0].Child
	}
	return false
}

// ofLane reports whether an entry of a leaf is a record, is of meta, or is a bucket that leads to a
// lane.
func (s *salvager) ofLane(off int64, es []pages.Element) bool {
	for i := range es {
		e := &es[i]
		if k, _ := s.try(off, e.Key, s.Size-off, e.Value-e.Key); k != nil {
			return true
		}
		if e.End-e.Key > s.PageSize {
			continue
		}
		b, err := s.entry(off, e)
		if err != nil {
			return true
		}
		k, v := b[:e.Value-e.Key], bytes.Clone(b[e.Value-e.Key:])
		if bytes.Equal(k, format.MetaLedger) && new(format.Ledger).Decode(v) == nil {
			return true
		}
		if e.Flags&pages.FlagBucket != 0 && len(v) >= pages.BucketLen {
			if lane, _ := s.lanePage(pages.Native.Uint64(v)); lane != nil {
				return true
			}
		}
	}
	return false
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
	there := make(map[string]bool)
	for i := range buckets {
		b := &buckets[i]
		child := treePage{id: b.root(), depth: 2, hole: hole{lane: at.lane, bucket: b.name}}
		switch {
		case !format.IsBucket(b.name):
			if name := nearest(b.name); name != "" {
				s.problem("%w: page %d: lane %q has a bucket %q", pages.ErrCorrupt, at.id, at.lane, pages.Short([]byte(b.name)))
				child.bucket = name
				break
			}
			s.lose(at, fmt.Errorf("lane %q has a bucket %q", at.lane, pages.Short([]byte(b.name))))
			continue
		}
		there[child.bucket] = true
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
