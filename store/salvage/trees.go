package salvage

import (
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// countsOn returns how many records the lane on page id has in each of its buckets; nil: its ledger
// cannot be read.
func (s *salvager) countsOn(id uint64) map[string]uint64 {
	l, ok := s.ledgerOn(id)
	if !ok {
		return nil
	}
	return map[string]uint64{ready: l.Ready, timed: l.Timed, later: l.Later, dead: l.Dead}
}

// A claim says which bucket leads to the root of a tree.
type claim struct{ lane, bucket string }

// claimTrees notes which trees the lanes lead to.
func (s *salvager) claimTrees(lanes []treePage) {
	s.claims = make(map[uint64][]claim)
	for _, at := range lanes {
		counts := s.countsOn(at.id)
		buckets, _ := s.lanePage(at.id)
		for i := range buckets {
			b := &buckets[i]
			if b.inline() || !holdsRecords(b.name) {
				continue
			}
			if n, ok := s.count(b.root(), b.name); ok && counts != nil && counts[b.name] == n {
				s.claims[b.root()] = append(s.claims[b.root()], claim{at.lane, b.name})
			}
		}
	}
}

// treeOf returns the root of the tree of a bucket, which should be page id. If that tree does not
// hold as many records as the ledger counts, and one whose page differs in one bit does, the page
// is damaged. 0: two buckets lead to the page, and it is not known whose it is.
func (s *salvager) treeOf(lane, bucket string, id uint64, counts map[string]uint64) uint64 {
	if counts == nil {
		return id
	}
	if n, ok := s.count(id, bucket); ok && n == counts[bucket] && !s.freed(id) {
		if others := s.claims[id]; len(others) > 1 {
			return 0
		}
		return id
	}
	found := uint64(0)
	for bit := range 64 {
		near := id ^ 1<<bit
		if n, ok := s.count(near, bucket); !ok || n != counts[bucket] || s.freed(near) || len(s.claims[near]) > 0 {
			continue
		}
		if found != 0 {
			return id // nothing tells which
		}
		found = near
	}
	if found != 0 {
		s.problem("%w: lane %q, bucket %q leads to page %d, and its tree is on page %d", pages.ErrCorrupt, lane, bucket, id, found)
		return found
	}
	return id
}

// count returns how many records the tree of a bucket has whose root is page id; not ok: it is
// damaged, or of another bucket.
func (s *salvager) count(id uint64, bucket string) (n uint64, ok bool) {
	todo := []uint64{id}
	for visited := uint64(0); len(todo) > 0; visited++ {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if id < pages.FirstPage || id >= s.pages || visited > s.pages {
			return 0, false
		}
		off := int64(id) * s.PageSize
		b, err := s.Bytes(off, pages.HeaderLen, &s.table)
		if err != nil {
			return 0, false
		}
		h := pages.ParseHeader(b)
		branch := h.Kind == pages.KindBranch
		if h.ID != id || !branch && h.Kind != pages.KindLeaf {
			return 0, false
		}
		if h.Count == 0 && !branch {
			continue
		}
		es, sound := s.elements(off, s.Size-off, h, branch)
		if !sound || len(es) != int(h.Count) {
			return 0, false
		}
		size := es[0].Value - es[0].Key
		if want := map[string]int64{ready: 8, dead: 8, timed: 16, later: 24}[bucket]; size != want {
			return 0, false
		}
		if !branch {
			n += uint64(h.Count)
			continue
		}
		for i := range es {
			todo = append(todo, es[i].Child)
		}
	}
	return n, true
}
