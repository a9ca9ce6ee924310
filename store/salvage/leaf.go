package salvage

import (
	"errors"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// maxCut limits the search for records whose offsets are damaged, in bytes: the size of one record,
// and how much is read for one page.
const maxCut = 64 << 20

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
			if again, fits := s.parse(off, room, n, branch); fits == len(again) {
				return again, !branch
			}
		}
	}
	// The elements of this page end with it. What lies on the next page belongs to that page.
	return es[:min(int64(len(es)), (s.PageSize-pages.HeaderLen)/pages.ElementLen)], h.Count == 0
}

// parse reads n elements of the page at off, fewer if there is no room for them. fit is how many of
// them lie right behind the one before.
func (s *salvager) parse(off, room, n int64, branch bool) (es []pages.Element, fit int) {
	n = min(n, (room-pages.HeaderLen)/pages.ElementLen)
	table, err := s.Bytes(off, pages.HeaderLen+max(n, 0)*pages.ElementLen, &s.table)
	if err != nil {
		return nil, 0
	}
	end := int64(len(table))
	for i := range int(n) {
		e := pages.ParseElement(table[pages.HeaderLen+i*pages.ElementLen:], i, branch)
		if e.Follows(end, room) == nil {
			fit++
		}
		es, end = append(es, e), e.End
	}
	return es, fit
}

// entry returns key and value of an element, in one slice. It is valid until the next call.
func (s *salvager) entry(off int64, e *pages.Element) ([]byte, error) {
	if n := e.End - e.Key; n < 0 || n > format.MaxMaxPayload+maxCut {
		return nil, errors.New("its lengths do not add up")
	}
	return s.Bytes(off+e.Key, e.End-e.Key, &s.record)
}

// entries passes the entries of a page of a bucket to the writer: records, or what meta and notes
// hold. It returns how many are damaged.
func (s *salvager) entries(at treePage, off, room int64, es []pages.Element) (broken int) {
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	s.effort = maxCut
	for i := range es {
		e := &es[i]
		next := room
		if i+1 < len(es) {
			next = es[i+1].Key
		}
		start := end
		end = e.End
		if !holdsRecords(at.bucket) {
			b, err := s.entry(off, e)
			if err != nil || e.Flags != 0 || e.Follows(start, room) != nil || !s.out.keepEntry(at.lane, at.bucket, b[:e.Value-e.Key], b[e.Value-e.Key:]) {
				broken++
			}
			continue
		}
		if _, k, v := s.cut(off, e, start, next, room); k != nil {
			s.out.save(at.lane, at.bucket, k, v)
			continue
		}
		broken++
		if b, err := s.entry(off, e); err == nil && e.End <= room && e.End-e.Key <= format.MaxQuarantined && e.Value <= e.End {
			s.out.quarantine(at.hole, b[:e.Value-e.Key], b[e.Value-e.Key:])
		} else {
			s.out.lose(at.lane)
		}
	}
	return broken
}

// cut finds the record of an element by its own offsets and, if they are damaged, by those of its
// neighbours: start, where the record before ends, and next, where the record behind begins. from
// is where it found the record. k is nil when no checksum is right.
func (s *salvager) cut(off int64, e *pages.Element, start, next, room int64) (from int64, k format.Key, v format.Record) {
	// First with its lengths only: a damaged offset may lead to a record of another page.
	if k, v = s.try(off, start, start+e.End-e.Key, room, e.Value-e.Key); k != nil {
		return start, k, v
	}
	if k, v = s.try(off, e.Key, e.End, room, e.Value-e.Key); k != nil {
		return e.Key, k, v
	}
	for _, from := range [...]int64{e.Key, start} {
		for _, to := range [...]int64{e.End, next} {
			if s.effort -= max(0, to-from); s.effort < 0 || to-from > maxCut {
				continue
			}
			for _, n := range [...]int64{8, 16, 24} {
				if k, v = s.try(off, from, to, room, n); k != nil {
					return from, k, v
				}
			}
		}
	}
	return 0, nil, nil
}

// try returns the record between two offsets of a page, with a key of n bytes, if its checksum is
// right; nil: it is not.
func (s *salvager) try(off, from, to, room, n int64) (k format.Key, v format.Record) {
	if n != 8 && n != 16 && n != 24 || from < pages.HeaderLen || to > room || to-from < n+format.OffBody+format.CrcLen {
		return nil, nil
	}
	b, err := s.entry(off, &pages.Element{Key: from, End: to})
	if err != nil || !format.Record(b[n:]).Intact(b[:n]) {
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
// page it is. at is where the key begins in the file.
func (s *salvager) strays(off int64, h pages.Header, found func(at int64, k format.Key, v format.Record)) {
	room := s.Size - off
	es, whole := s.elements(off, room, h, false)
	room = s.room(off, h, whole)
	end := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	s.effort = maxCut
	for i := range es {
		e, next := &es[i], room
		if i+1 < len(es) {
			next = es[i+1].Key
		}
		if e.Key != end { // it may not be an element at all
			s.effort -= max(0, e.End-e.Key)
		}
		if s.effort < 0 {
			return
		}
		if from, k, v := s.cut(off, e, end, next, room); k != nil {
			found(off+from, k, v)
		}
		end = e.End
	}
}
