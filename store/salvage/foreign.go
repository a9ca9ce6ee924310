package salvage

import (
	"bytes"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// isForeign reports whether a bucket of the root, which is not a lane, is certainly one of an
// application: what it leads to is sound, and nothing of a lane.
func (s *salvager) isForeign(b *bucketAt) bool {
	if b.inline() {
		return b.root() == 0 && pages.Inline(b.value[pages.BucketLen:]) == nil
	}
	id := b.root()
	if lane, _ := s.lanePage(id); lane != nil {
		return false
	}
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
