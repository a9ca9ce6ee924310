package salvage

import (
	"cmp"
	"slices"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// An orphan is a record on a page that no tree led to.
type orphan struct {
	off     int64 // where its key begins in the file
	key, to int   // lengths in bytes: of the key; of key and record
	seq     uint64
	rank    uint64 // of two copies of an item, the newer one has the higher rank
}

// orphans takes the records on pages that no tree led to, if they may be what is missing.
//
//   - A page that the freelist does not have was in use: its records belong below a damaged branch,
//     and are saved if their lane is certain.
//   - Otherwise the newest copy of each item is suspicious.
func (s *salvager) orphans() {
	type item struct {
		seq  uint64
		id   uuid.UUID
		body uint64
		at   int64 // where the record is, if the freelist says that it is in use: no other is a copy of it
	}
	suspects := make(map[item]orphan)
	for id := uint64(pages.FirstPage); id < s.pages && s.out.err == nil; id++ {
		if s.read.Has(id) || s.free.Has(id) && !s.doubt.Has(id) {
			continue
		}
		off := int64(id) * s.PageSize
		s.ReadAhead(off, s.PageSize)
		b, err := s.Bytes(off, pages.HeaderLen, &s.table)
		if err != nil {
			continue
		}
		h := pages.ParseHeader(b)
		found := func(at int64, k format.Key, v format.Record) {
			if s.taken[at] {
				return
			}
			lane, several := s.missedBy(k)
			inUse := s.free != nil && !s.free.Has(id)
			switch {
			case lane != "" && s.out.has(lane, k, v):
				return
			case lane == "" && !several && !inUse && s.out.has("", k, v):
				return // an older copy, as far as can be told
			}
			if inUse && h.ID == id && s.certain(lane) {
				s.out.save(lane, placeOf(k, v), k, v)
				return
			}
			if s.free == nil && !s.plausible(k) {
				return
			}
			who := item{seq: k.Seq(), id: v.ID(), body: s.out.body(v)}
			if inUse {
				who.at = at
			}
			o := orphan{off: at, key: len(k), to: len(k) + len(v), seq: who.seq, rank: uint64(v.Attempts())<<32 | uint64(len(v))}
			if was, ok := suspects[who]; !ok || o.rank > was.rank {
				suspects[who] = o
			}
		}
		s.strays(off, h, found)
		s.inlineStrays(id, found)
	}
	list := make([]orphan, 0, len(suspects))
	for _, o := range suspects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b orphan) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.off, b.off)) })
	for _, o := range list {
		b, err := s.Bytes(o.off, int64(o.to), &s.record)
		if err != nil {
			continue
		}
		lane, _ := s.missedBy(b[:o.key])
		if lane != "" && s.out.has(lane, b[:o.key], b[o.key:]) {
			continue // another copy was newer
		}
		s.out.suspect(lane, b[:o.key], b[o.key:])
	}
}

// certain reports whether the lane of a record is certain: missedBy named it, or there is only one
// lane.
func (s *salvager) certain(lane string) bool {
	return lane != "" || len(s.out.lanes) == 1 && !slices.ContainsFunc(s.newest, func(h hole) bool { return h.lane == "" })
}

// missedBy returns the name of the lane in which a record with this key is missing; "": in none, or
// it is not known in which. A lane that has the Seq already misses nothing. several reports whether more
// than one lane misses it.
func (s *salvager) missedBy(key format.Key) (lane string, several bool) {
	bucket := bucketOf(key)
	for i := range s.newest {
		h := s.newest[i : i+1]
		if !inHole(h, "", bucket, key) && (bucket != ready || !inHole(h, "", dead, key)) {
			continue
		}
		if l := s.out.lanes[h[0].lane]; l != nil && l.seqs[key.Seq()] {
			continue
		}
		if h[0].lane == "" || lane != "" && lane != h[0].lane {
			return "", h[0].lane != ""
		}
		lane = h[0].lane
	}
	return lane, false
}

// placeOf returns the name of the bucket that a record belongs to when nothing but its key and its
// content tells. ready and dead have the same keys; an item in ready was never tried.
func placeOf(k format.Key, v format.Record) string {
	b := bucketOf(k)
	if b == ready && (v.Attempts() > 0 || v.Failures() > 0 || v.IsSending() || v.IsDamaged()) {
		return dead
	}
	return b
}

// findRoot searches all pages of a file without meta pages for the newest root: the one whose lanes
// have assigned the highest Seqs and counted the most. 0: there is none.
func (s *salvager) findRoot() (root uint64) {
	most := uint64(0)
	for id := uint64(pages.FirstPage); id < s.pages; id++ {
		lanes := s.bucketsOn(id)
		sum := uint64(len(lanes))
		for i := range lanes {
			ledger, ok := s.ledgerOn(lanes[i].root())
			if !ok || lanes[i].inline() {
				sum = 0
				break
			}
			sum += pages.Native.Uint64(lanes[i].value[8:]) + ledger.Put + ledger.Delivered + ledger.Expired + ledger.Dropped
		}
		if sum > most {
			root, most = id, sum
		}
	}
	return root
}
