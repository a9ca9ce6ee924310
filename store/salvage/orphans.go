package salvage

import (
	"cmp"
	"maps"
	"math/bits"
	"slices"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// An orphan is a record on a page that no tree led to.
type orphan struct {
	off     int64  // where its key begins in the file
	key, to int    // lengths in bytes: of the key; of key and record
	owner   string // the lane that its page belongs to; "": not known
	seq     uint64
	rank    uint64 // of two copies of an item, the newer one has the higher rank
}

// orphans takes the records on pages that no tree led to, if they may be what is missing.
//
//   - A page that the freelist does not have was in use: its records belong below a damaged branch,
//     and are saved if their lane is certain.
//   - Otherwise the newest copy of each item is suspicious.
//
// A page belongs to one lane. Which one it is, the root page of a lane says by the name that it
// has; a leaf, by the records on it that one lane alone has. An orphan of a known lane is what that
// lane misses, or nothing: it never stands in for what another lane misses.
func (s *salvager) orphans() {
	type item struct {
		seq   uint64
		id    uuid.UUID
		body  uint64
		owner string
		at    int64 // where the record is, if the freelist says that it is in use: no other is a copy of it
	}
	suspects := make(map[item]orphan)
	s.holders = s.held()
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
		var onPage []orphan
		owner, several := "", false // as the records on it tell
		found := func(at int64, k format.Key, v format.Record) {
			onPage = append(onPage, orphan{off: at, key: len(k), to: len(k) + len(v)})
			lane := s.holders[s.itemOf(k, v)]
			if lane == "" || lane == owner {
				return
			}
			if missed, more := s.missedBy("", k, v); missed == "" && !more {
				owner, several = lane, several || owner != ""
			}
		}
		s.strays(off, h, found)
		if h.ID != id || several {
			owner = ""
		}
		leaf := len(onPage)
		s.inlineStrays(id, func(at int64, k format.Key, v format.Record) {
			onPage = append(onPage, orphan{off: at, key: len(k), to: len(k) + len(v)})
		})
		name := ""
		if len(onPage) > leaf {
			if name = s.nameOn(id); s.out.lanes[name] == nil {
				name = ""
			}
		}
		for i, o := range onPage {
			if s.taken[o.off] {
				continue
			}
			b, err := s.Bytes(o.off, int64(o.to), &s.record)
			if err != nil {
				continue
			}
			k, v := format.Key(b[:o.key]), format.Record(b[o.key:])
			if o.owner = owner; i >= leaf {
				o.owner = name
			}
			lane, several := s.missedBy(o.owner, k, v)
			inUse := s.free != nil && !s.free.Has(id)
			switch {
			case lane != "" && s.out.has(lane, k, v):
				continue
			case lane == "" && !inUse && !s.unsure && o.owner != "":
				continue // its lane misses nothing there
			case lane == "" && !several && !inUse && s.out.has(o.owner, k, v):
				continue // an older copy, as far as can be told
			}
			if inUse && h.ID == id && s.certain(lane) {
				s.out.save(lane, placeOf(k, v), k, v)
				continue
			}
			if s.free == nil && !s.plausible(k) {
				continue
			}
			who := item{seq: k.Seq(), id: v.ID(), body: s.out.body(v), owner: o.owner}
			if inUse {
				who.at = o.off
			}
			o.seq, o.rank = who.seq, uint64(v.Attempts())<<32|uint64(len(v))
			if was, ok := suspects[who]; !ok || o.rank > was.rank {
				suspects[who] = o
			}
		}
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
		lane, _ := s.missedBy(o.owner, b[:o.key], b[o.key:])
		if lane = cmp.Or(lane, o.owner); lane != "" && s.out.has(lane, b[:o.key], b[o.key:]) {
			continue // another copy was newer
		}
		s.out.suspect(lane, b[:o.key], b[o.key:])
	}
}

// itemOf returns a hash of the item of a record: of its Seq, its ID and its body.
func (s *salvager) itemOf(k format.Key, v format.Record) uint64 {
	return s.out.hash(k.Seq(), v.ID()) ^ bits.RotateLeft64(s.out.body(v), 1)
}

// held returns by item which lane has it. It leaves out lanes that have an item in common: the same
// event may be put into each of them, so that what one has now may lie on a page of the other. nil:
// there is one lane.
func (s *salvager) held() map[uint64]string {
	if len(s.out.lanes) < 2 {
		return nil
	}
	held := make(map[uint64]string)
	common := make(map[string]bool)
	for name, l := range s.out.lanes {
		for hash, body := range l.there {
			item := hash ^ bits.RotateLeft64(body, 1)
			if other, ok := held[item]; ok {
				common[name], common[other] = true, true
			}
			held[item] = name
		}
	}
	maps.DeleteFunc(held, func(_ uint64, name string) bool { return common[name] })
	return held
}

// certain reports whether the lane of a record is certain: missedBy named it, or there is only one
// lane.
func (s *salvager) certain(lane string) bool {
	return lane != "" || len(s.out.lanes) == 1 && !slices.ContainsFunc(s.newest, func(h hole) bool { return h.lane == "" })
}

// missedBy returns the name of the lane in which a record with this key is missing; "": in none, or
// it is not known in which. owner is the lane that its page belongs to; "": not known. A lane that
// has the Seq already misses nothing, and one that never assigned the Seq, or could not hold the
// record, does not miss it. several reports whether more than one lane misses it.
func (s *salvager) missedBy(owner string, key format.Key, v format.Record) (lane string, several bool) {
	bucket := bucketOf(key)
	for i := range s.newest {
		h := s.newest[i : i+1]
		if !inHole(h, owner, bucket, key) && (bucket != ready || !inHole(h, owner, dead, key)) {
			continue
		}
		name := cmp.Or(h[0].lane, owner)
		if l := s.out.lanes[name]; l != nil && (l.seqs[key.Seq()] || owner == "" && !(l.assigned(key.Seq()) && l.takes(key.Seq(), v))) {
			continue
		}
		if name == "" || lane != "" && lane != name {
			return "", name != ""
		}
		lane = name
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
