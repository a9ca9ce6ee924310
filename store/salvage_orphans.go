package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/store/internal/pages"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// An orphan is a record on a page that no tree led to.
type orphan struct {
	off     int64 // of the key
	key, to int   // lengths of the key, and of both
	seq     uint64
	rank    uint64 // grows with the age of an item
}

// orphans takes the records on pages that no tree led to, where they may be what is missing. What the
// freelist does not have was in use, and the record belongs to a branch that broke. If nothing tells, or
// the page is not what its place says, the newest of each item is suspicious.
func (s *salvager) orphans() {
	type item struct {
		seq uint64
		id  uuid.UUID
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
		s.strays(off, h, func(at int64, k, v []byte) {
			if s.out.has(k, v) {
				return
			}
			if lane := s.laneOf(k); s.free != nil && !s.free.Has(id) && h.ID == id && s.certain(lane) {
				s.out.save(lane, placeOf(k, v), k, v)
				return
			}
			if s.free == nil && !s.plausible(k) {
				return
			}
			who := item{format.Key(k).Seq(), format.Record(v).ID()}
			o := orphan{off: at, key: len(k), to: len(k) + len(v), seq: who.seq, rank: uint64(binary.BigEndian.Uint32(v[format.OffAttempts:]))<<32 | uint64(len(v))}
			if was, ok := suspects[who]; !ok || o.rank > was.rank {
				suspects[who] = o
			}
		})
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
		s.out.suspect(s.laneOf(b[:o.key]), b[:o.key], b[o.key:])
	}
}

// certain reports whether it is certain of which lane a record is, by laneOf or since there is one lane only.
func (s *salvager) certain(lane string) bool {
	return lane != "" || len(s.out.lanes) == 1 && !slices.ContainsFunc(s.newest, func(h hole) bool { return h.lane == "" })
}

// laneOf names the lane in which a record with that key is missing; "": none, or one of several.
func (s *salvager) laneOf(key []byte) (lane string) {
	bucket := bucketOf(key)
	for i := range s.newest {
		h := s.newest[i : i+1]
		if !inHole(h, "", bucket, key) && (bucket != "ready" || !inHole(h, "", "dead", key)) {
			continue
		}
		if h[0].lane == "" || lane != "" && lane != h[0].lane {
			return ""
		}
		lane = h[0].lane
	}
	return lane
}

// placeOf names the bucket that a record of no known bucket belongs to.
func placeOf(k, v []byte) string {
	b := bucketOf(k)
	if b == "ready" && (binary.BigEndian.Uint32(v[format.OffAttempts:]) > 0 || format.Record(v).Failures() > 0 || v[1]&(format.FlagSending|format.FlagDamaged) != 0) {
		return "dead"
	}
	return b
}

// findRoot looks for the newest root among all pages of a file without metas: the one whose lanes have
// assigned the most, and then done the most. 0: there is none.
func (s *salvager) findRoot() (root uint64) {
	most := uint64(0)
	for id := uint64(pages.FirstPage); id < s.pages; id++ {
		lanes := s.bucketsOn(id)
		sum := uint64(len(lanes))
		for _, lane := range lanes {
			ledger, ok := s.ledgerOn(pages.Native.Uint64(lane))
			if !ok || len(lane) != pages.BucketLen {
				sum = 0
				break
			}
			sum += pages.Native.Uint64(lane[8:]) + ledger.Put + ledger.Delivered + ledger.Expired + ledger.Dropped
		}
		if sum > most {
			root, most = id, sum
		}
	}
	return root
}

// bucketsOn returns the buckets on page id by their names; nil: it is no sound leaf of buckets alone.
func (s *salvager) bucketsOn(id uint64) map[string][]byte {
	if id < pages.FirstPage || id >= s.pages {
		return nil
	}
	off := int64(id) * s.PageSize
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	if err != nil {
		return nil
	}
	h := pages.ParseHeader(b)
	if h.ID != id || h.Kind != pages.KindLeaf || h.Count == 0 {
		return nil
	}
	es, sound := s.elements(off, s.Size-off, h, false)
	found := make(map[string][]byte)
	for i := range es {
		b, err := s.entry(off, &es[i])
		n := es[i].Value - es[i].Key
		if !sound || err != nil || es[i].Flags != pages.FlagBucket || int64(len(b)) < n+pages.BucketLen {
			return nil
		}
		found[string(b[:n])] = slices.Clone(b[n:])
	}
	return found
}

// ledgerOn reads the ledger of the lane on page id.
func (s *salvager) ledgerOn(id uint64) (l format.Ledger, ok bool) {
	ok = l.Decode(s.metaOn(id, format.MetaLedger)) == nil
	return l, ok
}

// nameOn reads the name of the lane on page id; "": it does not tell.
func (s *salvager) nameOn(id uint64) string {
	return string(format.CutSum(s.metaOn(id, format.MetaName)))
}

// secrets looks on all pages for the secrets of lanes whose meta was lost. A lane has one for good.
func (s *salvager) secrets() {
	for id := uint64(pages.FirstPage); id < s.pages; id++ {
		name := s.nameOn(id)
		if l := s.out.lanes[name]; name == "" || l == nil || l.known {
			continue
		}
		if secret := s.metaOn(id, format.MetaSecret); secret != nil {
			s.out.keepEntry(name, string(format.BucketMeta), format.MetaSecret, secret)
		}
	}
}

// metaOn returns what the lane on page id keeps in meta under a key; nil: nothing.
func (s *salvager) metaOn(id uint64, key []byte) []byte {
	meta := s.bucketsOn(id)[string(format.BucketMeta)]
	if len(meta) < pages.BucketLen+pages.HeaderLen || pages.Inline(meta[pages.BucketLen:]) != nil {
		return nil
	}
	page := meta[pages.BucketLen:]
	for i := range int(pages.ParseHeader(page).Count) {
		e := pages.ParseElement(page[pages.HeaderLen+i*pages.ElementLen:], i, false)
		if bytes.Equal(page[e.Key:e.Value], key) {
			return page[e.Value:e.End]
		}
	}
	return nil
}
