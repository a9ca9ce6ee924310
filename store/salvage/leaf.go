package salvage

import (
	"errors"
	"math/bits"
	"slices"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// maxBatchBytes is how many bytes of records one transaction writes.
const maxBatchBytes = 64 << 20

// elements reads the elements of the page at off, which has room bytes, and reports whether they
// fit together. The offset in the first element implies how many there are: that helps when the
// header is damaged.
func (s *salvager) elements(off, room int64, h pages.Header, branch bool) (es []pages.Element, sound bool) {
	room = min(room, s.Size-off)
	es, fit := s.parse(off, room, int64(h.Count), branch)
	if fit == len(es) && fit > 0 || h.Count == 0 && branch {
		return es, true
	}
	if b, err := s.Bytes(off+pages.HeaderLen, pages.ElementLen, &s.table); err == nil {
		first := int64(pages.Native.Uint32(b[4:]))
		if branch {
			first = int64(pages.Native.Uint32(b))
		}
		if n := first / pages.ElementLen; first%pages.ElementLen == 0 && n > 0 && n < 1<<16 && n != int64(h.Count) {
			if again, fits := s.parse(off, room, n, branch); fits == len(again) && fits > fit {
				return again, !branch
			}
		}
	}
	// The elements of this page end with it. What lies on the next page belongs to that page.
	return es[:min(int64(len(es)), (s.PageSize-pages.HeaderLen)/pages.ElementLen)], h.Count == 0
}

// parse reads n elements of the page at off, fewer if there is no room for them. fit is how many of
// them lie right behind the one before. bbolt never lets the elements of a page grow beyond it, so
// that what follows from a damaged count is bounded.
func (s *salvager) parse(off, room, n int64, branch bool) (es []pages.Element, fit int) {
	n = min(n, (min(room, s.PageSize)-pages.HeaderLen)/pages.ElementLen)
	table, err := s.Bytes(off, pages.HeaderLen+max(n, 0)*pages.ElementLen, &s.table)
	if err != nil {
		return nil, 0
	}
	end := int64(len(table))
	for i := range int(n) {
		e := pages.ParseElement(table[pages.HeaderLen+i*pages.ElementLen:], i, branch)
		if e.Follows(end, room) {
			fit++
		}
		es, end = append(es, e), e.End
	}
	return es, fit
}

// spend takes n bytes from what may be read where no tree vouches for what lies there. It returns
// false if too little is left. All of the file may be read a few times, so that the work grows with
// the file, whatever garbage leads from each page to many others.
func (s *salvager) spend(n int64) bool {
	if n > s.effort {
		s.exhausted = true
		return false
	}
	s.effort -= max(0, n)
	return true
}

// entry returns key and value of an element, in one slice. It is valid until the next call.
func (s *salvager) entry(off int64, e *pages.Element) ([]byte, error) {
	if n := e.End - e.Key; n < 0 || n > format.MaxQuarantined+s.PageSize || !s.spend(n) {
		return nil, errors.New("its lengths do not add up")
	}
	return s.Bytes(off+e.Key, e.End-e.Key, &s.record)
}

// entries passes the entries of a page of a bucket to the writer: records, or what meta and notes
// hold. It returns how many are damaged.
func (s *salvager) entries(at treePage, off, room int64, es []pages.Element) (broken int) {
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	for i := range es {
		e := &es[i]
		start := end
		end = e.End
		if !holdsRecords(at.bucket) {
			if e.Flags != 0 || !e.Follows(start, room) { // such lengths may be those of half the file
				broken++
				continue
			}
			b, err := s.entry(off, e)
			if err != nil || !s.out.keepEntry(at.lane, at.bucket, b[:e.Value-e.Key], b[e.Value-e.Key:]) {
				broken++
			}
			continue
		}
		if _, k, v := s.cut(off, e, start, room); k != nil {
			s.out.save(at.lane, at.bucket, k, v)
			continue
		}
		broken++
		if e.End <= room && e.End-e.Key <= format.MaxQuarantined && e.Value <= e.End {
			if b, err := s.entry(off, e); err == nil {
				s.out.quarantine(at.hole, b[:e.Value-e.Key], b[e.Value-e.Key:])
				continue
			}
		}
		s.out.lose(at.lane)
	}
	return broken
}

// cut finds the record of an element at start, where the record before ends, or where its own
// offset leads. A record holds its lengths, so its end need not be looked for. from is where it was
// found. k is nil when no checksum is right.
func (s *salvager) cut(off int64, e *pages.Element, start, room int64) (from int64, k format.Key, v format.Record) {
	n := e.Value - e.Key
	for _, from := range [...]int64{start, e.Key} {
		if k, v = s.try(off, from, room, n); k != nil {
			return from, k, v
		}
		for _, other := range [...]int64{8, 16, 24} {
			if other == n {
				continue
			}
			if k, v = s.try(off, from, room, other); k != nil {
				return from, k, v
			}
		}
		if start == e.Key {
			break
		}
	}
	return 0, nil, nil
}

// try returns the record at an offset of a page, with a key of n bytes, if its checksum is right;
// nil: it is not. It looks at the version and the lengths first.
func (s *salvager) try(off, from, room, n int64) (k format.Key, v format.Record) {
	head := n + format.OffBody
	if n != 8 && n != 16 && n != 24 || from < pages.HeaderLen || head > room-from {
		return nil, nil
	}
	if !s.Ahead(off+from, head) && !s.spend(head) { // what was read ahead costs nothing
		return nil, nil
	}
	b, err := s.Bytes(off+from, head, &s.record)
	if err != nil {
		return nil, nil
	}
	size := format.Record(b[n:]).ClaimedLen()
	if size == 0 || size > room-from-n || !s.spend(n+size) {
		return nil, nil
	}
	if b, err = s.Bytes(off+from, n+size, &s.record); err != nil || !format.Record(b[n:]).Intact(b[:n]) {
		return nil, nil
	}
	return b[:n:n], b[n:]
}

// room returns how many bytes the page at off may have. If its elements fit together, they are
// trusted up to the end of the file. Otherwise the header tells, so that no element leads to a
// record of another page.
func (s *salvager) room(off int64, h pages.Header, whole bool) int64 {
	room := s.Size - off
	if !whole {
		room = min(room, (int64(h.Overflow)+1)*s.PageSize)
	}
	return room
}

// strays calls found for the records on the page at off whose checksums are right, whatever kind of
// page it is. at is where the key begins in the file. What has neither the number of its place nor
// one element in its place is no page, but a part of a payload.
func (s *salvager) strays(off int64, h pages.Header, found func(at int64, k format.Key, v format.Record)) {
	es, whole := s.elements(off, s.Size-off, h, false)
	room := s.room(off, h, whole)
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	if bits.OnesCount64(h.ID^uint64(off/s.PageSize)) <= 1 || slices.ContainsFunc(es, follows(end, room)) {
		s.straysOf(off, room, es, found)
	}
}

// inlineStrays calls found for the records in buckets that lie inside page id, if it is the root
// page of a lane.
func (s *salvager) inlineStrays(id uint64, found func(at int64, k format.Key, v format.Record)) {
	buckets, _ := s.lanePage(id)
	for i := range buckets {
		b := &buckets[i]
		room := int64(len(b.value)) - pages.BucketLen
		if !holdsRecords(b.name) || room < pages.HeaderLen {
			continue
		}
		es, _ := s.elements(b.off+pages.BucketLen, room, pages.ParseHeader(b.value[pages.BucketLen:]), false)
		s.straysOf(b.off+pages.BucketLen, room, es, found)
	}
}

// straysOf calls found for the records of these elements.
func (s *salvager) straysOf(off, room int64, es []pages.Element, found func(at int64, k format.Key, v format.Record)) {
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	for i := range es {
		if from, k, v := s.cut(off, &es[i], end, room); k != nil {
			found(off+from, k, v)
			end = from + int64(len(k)+len(v))
			continue
		}
		end = es[i].End
	}
}

// follows returns a function that reports whether an element lies right behind the one of the call
// before, or behind end.
func follows(end, room int64) func(pages.Element) bool {
	return func(e pages.Element) bool {
		ok := e.Follows(end, room)
		end = e.End
		return ok
	}
}
