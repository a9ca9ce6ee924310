package store

import (
	"errors"
)

// maxCut is how large a record may be whose place on its page is not certain, and how much is read of
// one page to find those, in bytes.
const maxCut = 64 << 20

// elements reads those of a page at off, with room for a number of bytes, and tells whether they fit
// together. A leaf's first element tells again how many there are, in case the header is what is
// damaged.
func (s *salvager) elements(off, room int64, h header, branch bool) (es []element, sound bool) {
	room = min(room, s.size-off)
	es, fit := s.parse(off, room, int64(h.count), branch)
	if fit == len(es) && fit > 0 || h.count == 0 && branch {
		return es, true
	}
	if b, err := s.bytes(off+headerLen, elementLen, &s.table); err == nil {
		first := int64(native.Uint32(b[4:]))
		if branch {
			first = int64(native.Uint32(b))
		}
		if n := first / elementLen; first%elementLen == 0 && n > 0 && n < 1<<16 && n != int64(h.count) {
			if again, fits := s.parse(off, room, n, branch); fits == len(again) {
				return again, !branch
			}
		}
	}
	// The elements are on the page itself, whatever follows it: those on the next belong to that.
	return es[:min(int64(len(es)), (s.pageSize-headerLen)/elementLen)], h.count == 0
}

func (s *salvager) parse(off, room, n int64, branch bool) (es []element, fit int) {
	n = min(n, (room-headerLen)/elementLen)
	table, err := s.bytes(off, headerLen+max(n, 0)*elementLen, &s.table)
	if err != nil {
		return nil, 0
	}
	end := int64(len(table))
	for i := range int(n) {
		e := parseElement(table[headerLen+i*elementLen:], i, branch)
		if e.follows(end, room) == nil {
			fit++
		}
		es, end = append(es, e), e.end
	}
	return es, fit
}

// entry returns key and value of an element, up to its next use.
func (s *salvager) entry(off int64, e *element) ([]byte, error) {
	if n := e.end - e.key; n < 0 || n > maxMaxPayload+maxCut {
		return nil, errors.New("its lengths do not add up")
	}
	return s.bytes(off+e.key, e.end-e.key, &s.record)
}

// entries hands on what lies in a bucket of a lane, and returns how much of it is damaged.
func (s *salvager) entries(at treePage, off, room int64, es []element) (broken int) {
	end := int64(headerLen + len(es)*elementLen)
	s.effort = maxCut
	for i := range es {
		e := &es[i]
		next := room
		if i+1 < len(es) {
			next = es[i+1].key
		}
		start := end
		end = e.end
		if at.bucket == "meta" || at.bucket == "notes" {
			b, err := s.entry(off, e)
			if err != nil || e.flags != 0 || e.follows(start, room) != nil || !s.out.keepEntry(at.lane, at.bucket, b[:e.value-e.key], b[e.value-e.key:]) {
				broken++
			}
			continue
		}
		if _, k, v := s.cut(off, e, start, next, room); k != nil {
			s.out.save(at.lane, at.bucket, k, v)
			continue
		}
		broken++
		if b, err := s.entry(off, e); err == nil && e.end <= room && e.end-e.key <= maxBuried && e.value <= e.end {
			s.out.bury(at.hole, b[:e.value-e.key], b[e.value-e.key:])
		} else {
			s.out.lose(at.lane)
		}
	}
	return broken
}

// cut finds the record that an element is about, if need be by what its neighbours say: start, where
// the one before ends, and next, where the one behind begins. It returns where it found the record;
// nil: no checksum holds.
func (s *salvager) cut(off int64, e *element, start, next, room int64) (from int64, k, v []byte) {
	// One whose offset alone is damaged may lead to the record of another page.
	if k, v = s.try(off, start, start+e.end-e.key, room, e.value-e.key); k != nil {
		return start, k, v
	}
	if k, v = s.try(off, e.key, e.end, room, e.value-e.key); k != nil {
		return e.key, k, v
	}
	for _, from := range [...]int64{e.key, start} {
		for _, to := range [...]int64{e.end, next} {
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

// try returns the record with a key of n bytes that lies between two places of a page, if its checksum
// holds.
func (s *salvager) try(off, from, to, room, n int64) (k, v []byte) {
	if n != 8 && n != 16 && n != 24 || from < headerLen || to > room || to-from < n+offBody+crcLen {
		return nil, nil
	}
	b, err := s.entry(off, &element{key: from, end: to})
	if err != nil || !intact(b[:n], b[n:]) {
		return nil, nil
	}
	return b[:n:n], b[n:]
}

// room is how far the records of a page at off may reach. If its elements fit together they tell; else its
// header does, lest one of them leads to the record of another page.
func (s *salvager) room(off int64, h header, whole bool) int64 {
	room := s.size - off
	if !whole {
		room = min(room, (int64(h.overflow)+1)*s.pageSize)
	}
	return room
}

// strays hands on the records of a page at off, whatever it is, whose checksums hold.
func (s *salvager) strays(off int64, h header, found func(at int64, k, v []byte)) {
	room := s.size - off
	es, whole := s.elements(off, room, h, false)
	room = s.room(off, h, whole)
	end := int64(headerLen + len(es)*elementLen)
	s.effort = maxCut
	for i := range es {
		e, next := &es[i], room
		if i+1 < len(es) {
			next = es[i+1].key
		}
		if e.key != end { // it may be anything
			s.effort -= max(0, e.end-e.key)
		}
		if s.effort < 0 {
			return
		}
		if from, k, v := s.cut(off, e, end, next, room); k != nil {
			found(off+from, k, v)
		}
		end = e.end
	}
}
