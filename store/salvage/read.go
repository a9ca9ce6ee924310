package salvage

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/seed8107221f/outbox/store/internal/format"
	"github.com/seed8107221f/outbox/store/internal/pages"
)

// A salvager is one run: it reads the damaged file and passes what it finds to a writer. One
// goroutine uses it.
//
//   - What is found first wins, so the sources are read in the order of trust; see the package
//     comment.
//   - Each place where a tree breaks off is a hole. A record from a less certain source is taken
//     only if it fits into a hole.
//   - A page is in read only if a tree led to it and it was what the tree said. All others are
//     searched for orphans, if anything is missing.
type salvager struct {
	pages.Pager
	out      *writer
	problems []error // for the Report

	pages  uint64    // number of pages of the file
	read   pages.Set // pages that a tree led to and that were what it said
	broken pages.Set // pages of which something is missing
	free   pages.Set // pages that the freelist has; nil: there is no freelist to trust
	doubt  pages.Set // pages in free that a tree leads to: one of the two is wrong
	unsure bool      // the newest commit may not be the one that the meta pages say

	taken   map[int64]bool     // offsets of records on pages that are not in read, and that were taken
	claims  map[uint64][]claim // by the root of a tree of records, the buckets of the newest commit that lead to it
	holders map[uint64]string  // by item, the lane that has it; see held
	foreign []string           // buckets of an application beside the lanes

	holes   []hole // where the tree that is being walked breaks off
	newest  []hole // holes of the tree of the newest commit
	before  []hole // holes of the commit before; if not walked, as newest
	lastSeq uint64 // lowest sequence of a lane in the last tree: higher Seqs are newer

	effort        int64  // bytes that may still be read where no tree vouches for them; see spend
	exhausted     bool   // effort did not last
	table, record []byte // buffers for Bytes
}

// Names of the buckets of a lane.
var (
	meta  = string(format.BucketMeta)
	ready = string(format.BucketReady)
	timed = string(format.BucketTimed)
	later = string(format.BucketLater)
	dead  = string(format.BucketDead)
	notes = string(format.BucketNotes)
)

// holdsRecords reports whether a bucket of this name holds records.
func holdsRecords(bucket string) bool { return bucket != meta && bucket != notes }

// A hole is a range of keys that no walk has reached.
type hole struct {
	lane, bucket string // "": any
	from, below  []byte // keys from here on, below there; nil: no bound
}

// bounds reports whether a key is in the range of the hole.
func (h *hole) bounds(key []byte) bool {
	return (h.from == nil || bytes.Compare(key, h.from) >= 0) && (h.below == nil || bytes.Compare(key, h.below) < 0)
}

// inHole reports whether a record of a bucket fits into one of the holes. A lane of "" fits every
// lane.
func inHole(holes []hole, lane, bucket string, key []byte) bool {
	for i := range holes {
		h := &holes[i]
		if (h.lane == "" || lane == "" || h.lane == lane) && (h.bucket == "" || h.bucket == bucket && h.bounds(key)) {
			return true
		}
	}
	return false
}

// problem adds a problem to the report.
func (s *salvager) problem(format string, args ...any) {
	if len(s.problems) < maxProblems {
		s.problems = append(s.problems, fmt.Errorf(format, args...))
	}
}

// run reads the file and passes all that it finds to the writer.
func (s *salvager) run() error {
	metas, bad, err := pages.ReadMetas(s.R, s.Size)
	newest, other := &metas[0], &metas[1]
	if bad[0] != nil || bad[1] == nil && metas[1].TxID > metas[0].TxID {
		newest, other = other, newest
	}
	s.PageSize = newest.PageSize
	s.unsure = err != nil || bad[0] != nil || bad[1] != nil || other.TxID+1 != newest.TxID
	if err != nil {
		if s.PageSize = pages.GuessPageSize(s.R, s.Size); s.PageSize == 0 || errors.Is(err, pages.ErrFormat) {
			return err
		}
	}
	if s.unsure {
		s.problem("%w: the metas are not those of two commits in a row, and the newest may be lost: %v", pages.ErrCorrupt, errors.Join(bad[0], bad[1]))
	}
	s.pages = uint64((s.Size + s.PageSize - 1) / s.PageSize)
	s.effort = 4 * s.Size
	s.taken = make(map[int64]bool)
	s.read, s.broken, s.doubt = pages.NewSet(s.pages), pages.NewSet(s.pages), pages.NewSet(s.pages)
	if err != nil {
		newest.Root = s.findRoot()
	}
	if !s.unsure {
		s.freelist(newest)
	}
	s.walk(newest.Root)
	s.unled(newest)
	s.newest, s.holes = s.holes, nil
	s.out.complete = !s.unsure && !slices.ContainsFunc(s.newest, func(h hole) bool { return h.lane == "" })
	if len(s.newest) > 0 && !s.unsure {
		s.out.trust = func(lane, bucket string, k format.Key) trust {
			switch {
			case inHole(s.newest, lane, bucket, k):
				return full
			case s.moved(lane, k):
				return some
			}
			return none
		}
		s.walk(other.Root)
		s.before, s.holes = s.holes, nil
		s.out.trust = nil
	} else {
		s.before = s.newest
	}
	if !s.unsure && len(s.newest) == 0 && len(s.out.lanes) == 0 {
		return fmt.Errorf("%w: it is a sound database without a lane: it has the buckets %.100q", pages.ErrFormat, s.foreign)
	}
	if s.unsure || len(s.newest) > 0 {
		s.secrets()
		lanes := len(s.out.lanes)
		s.orphans()
		if len(s.out.lanes) > lanes {
			s.secrets()
		}
	}
	s.out.checkVersions()
	if s.exhausted {
		s.problem("%w: so much in it looks like records and is none that the search for them ended early", pages.ErrCorrupt)
	}
	s.out.lostUnknown = !s.out.complete
	if len(s.out.lanes) == 0 && s.out.err == nil {
		return fmt.Errorf("%w: no lane and no record were found in it", pages.ErrCorrupt)
	}
	return s.out.err
}

// moved reports whether a record of the commit before may have been moved into a hole by the newest
// commit: to dead under the same Seq, to later, or to ready under a new Seq.
func (s *salvager) moved(lane string, key format.Key) bool {
	return inHole(s.newest, lane, dead, format.ReadyKey(key.Seq())) || inHole(s.newest, lane, ready, format.ReadyKey(math.MaxUint64)) ||
		slices.ContainsFunc(s.newest, func(h hole) bool { return h.bucket == later && h.lane == lane })
}

// plausible reports whether a record on a page that no tree led to may be what is missing: it fits
// into a hole of the newest commit, and it fits into a hole of the commit before, or may be newer
// than that.
func (s *salvager) plausible(key format.Key) bool {
	bucket, seq := bucketOf(key), key.Seq()
	fits := func(holes []hole) bool {
		return inHole(holes, "", bucket, key) || bucket == ready && inHole(holes, "", dead, key)
	}
	if bucket == "" || !s.unsure && !fits(s.newest) {
		return false
	}
	// Or the newest commit moved it, and its old place is in a hole of the commit before.
	return fits(s.before) || seq > s.lastSeq || inHole(s.before, "", ready, format.ReadyKey(seq)) ||
		bucket == ready && slices.ContainsFunc(s.before, func(h hole) bool { return h.bucket == later || h.bucket == timed })
}

// bucketOf returns the name of the bucket whose keys have this length; "": there is none. dead has
// the same keys as ready, so ready may mean dead.
func bucketOf(key []byte) string {
	switch len(key) {
	case 8:
		return ready
	case 16:
		return timed
	case 24:
		return later
	}
	return ""
}

// freelist reads which pages are free, if the newest commit kept a freelist and all of it is
// undamaged.
func (s *salvager) freelist(m *pages.Meta) {
	if m.Freelist == pages.NoFreelist || m.Pages > s.pages {
		return
	}
	free, own, err := s.ReadFreelist(m)
	if err != nil {
		s.problem("%w", err)
		return
	}
	s.free = free
	for id := m.Freelist; id < m.Pages && own.Has(id); id++ {
		s.read.Add(id)
	}
}

// A treePage is a page of a tree that is to be read.
type treePage struct {
	hole  // what is missing if it cannot be read
	id    uint64
	depth int // of its bucket: 0 the root bucket, 1 a lane, 2 a bucket of a lane
}

// walk reads the tree of a commit from its root. It skips leaves that an earlier walk has read.
func (s *salvager) walk(root uint64) {
	s.lastSeq = math.MaxUint64
	s.walkFrom([]treePage{{id: root}})
}

// walkFrom reads the trees below some pages.
func (s *salvager) walkFrom(todo []treePage) {
	seen := pages.NewSet(s.pages) // by this walk
	for len(todo) > 0 && s.out.err == nil {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at.id < pages.FirstPage || at.id >= s.pages || seen.Has(at.id) {
			s.lose(at, errors.New("it is out of bounds, or was seen before"))
			continue
		}
		seen.Add(at.id)
		off := int64(at.id) * s.PageSize
		s.ReadAhead(off, s.PageSize)
		b, err := s.Bytes(off, pages.HeaderLen, &s.table)
		if err != nil {
			s.lose(at, err)
			continue
		}
		h := pages.ParseHeader(b)
		sound := h.ID == at.id
		switch {
		case at.depth == 1:
			todo = append(todo, s.lane(at)...)
		case sound && h.Kind == pages.KindBranch:
			below := s.branch(at, h)
			todo = append(todo, below...)
			if below == nil {
				seen.Remove(at.id) // another branch may lead to it rightly
			}
		case at.depth == 0 && bits.OnesCount64(h.ID^at.id) <= 1 && h.Kind != pages.KindBranch:
			todo = append(todo, s.root(at, h)...)
		case at.depth >= 2 && s.out.trust == nil && s.free.Has(at.id):
			s.doubt.Add(at.id)
			s.lose(at, errors.New("the freelist has it"))
		case at.depth >= 2 && s.read.Has(at.id) && !sound:
			s.lose(at, errors.New("it belongs to another page"))
		case at.depth >= 2 && s.read.Has(at.id):
			if s.broken.Has(at.id) { // in the tree of the newest commit already
				s.holes = append(s.holes, at.hole)
			}
		case at.depth >= 2:
			if !s.leaf(at, h, sound && h.Kind == pages.KindLeaf) {
				seen.Remove(at.id)
			}
		default:
			s.lose(at, fmt.Errorf("it has the number %d and the kind %#x", h.ID, h.Kind))
		}
	}
}

// lose notes that the tree breaks off at a page, and why.
func (s *salvager) lose(at treePage, err error) {
	s.problem("%w: page %d: %v: lane %q, bucket %q, keys %x to %x", pages.ErrCorrupt, at.id, err, at.lane, at.bucket, pages.Short(at.from), pages.Short(at.below))
	s.holes = append(s.holes, at.hole)
	if at.id < s.pages {
		s.broken.Add(at.id)
	}
}

// keep adds page id, and the pages after it that its entries reach, to read.
func (s *salvager) keep(id uint64, h pages.Header, es []pages.Element) {
	need, end := uint64(0), int64(pages.HeaderLen+len(es)*pages.ElementLen)
	for i := range es {
		if es[i].Follows(end, s.Size-int64(id)*s.PageSize) {
			need = max(need, uint64(es[i].End-1)/uint64(s.PageSize))
		}
		end = es[i].End
	}
	if have := uint64(h.Overflow); have != need && have != need+1 {
		s.problem("%w: page %d: %d pages belong to it, %d expected", pages.ErrCorrupt, id, have, need)
		need = 0 // the pages after it are searched for orphans
	}
	for last := min(id+need, s.pages-1); id <= last; id++ {
		s.read.Add(id)
	}
}

// branch returns the children of a branch; nil: it is damaged.
func (s *salvager) branch(at treePage, h pages.Header) (below []treePage) {
	off := int64(at.id) * s.PageSize
	es, sound := s.elements(off, s.Size-off, h, true)
	var keys [][]byte
	for i := range es {
		b, err := s.Bytes(off+es[i].Key, es[i].Value-es[i].Key, &s.record)
		if sound = sound && err == nil; !sound {
			break
		}
		keys = append(keys, bytes.Clone(b))
	}
	if !sound || len(es) == 0 || at.depth >= 2 && (!at.bounds(keys[0]) || !at.bounds(keys[len(keys)-1])) {
		s.lose(at, errors.New("it is no sound branch"))
		return nil
	}
	for i := range es {
		child := treePage{id: es[i].Child, depth: at.depth, hole: at.hole}
		if i > 0 {
			child.from = keys[i]
		}
		if i+1 < len(es) {
			child.below = keys[i+1]
		}
		if child.depth < 2 {
			child.from, child.below = nil, nil // names of buckets, not keys of records
		}
		below = append(below, child)
	}
	s.keep(at.id, h, es)
	return below
}

// root reads the leaf at the root of the file, and returns the root pages of the lanes. It leaves
// out the buckets of an application.
func (s *salvager) root(at treePage, h pages.Header) (below []treePage) {
	if lane, _ := s.lanePage(at.id); lane != nil {
		s.lose(at, errors.New("it is the root page of a lane, where that of the file is expected"))
		return nil
	}
	off := int64(at.id) * s.PageSize
	es, sound := s.elements(off, s.Size-off, h, false)
	if sound = sound && h.ID == at.id && h.Kind == pages.KindLeaf; !sound {
		s.problem("%w: page %d, the root page: its entries do not fit together", pages.ErrCorrupt, at.id)
		if len(es) == 0 {
			s.lose(at, errors.New("it has no entries"))
		}
	}
	s.read.Add(at.id)
	start := int64(pages.HeaderLen + len(es)*pages.ElementLen)
	for i := range es {
		b, ok := s.rootEntry(off, start, &es[i])
		start = es[i].End
		if !ok {
			s.lose(at, fmt.Errorf("entry %d leads to no bucket", i))
			continue
		}
		start = b.off - off + int64(len(b.value))
		name, id := s.laneOf(&b)
		if id == 0 {
			if b.exact && sound && s.isForeign(&b) {
				if !slices.Contains(s.foreign, b.name) {
					s.foreign = append(s.foreign, b.name)
				}
				continue
			}
			s.lose(at, fmt.Errorf("bucket %q leads to page %d, which is no lane", pages.Short([]byte(b.name)), b.root()))
			continue
		}
		if name != b.name || id != b.root() || !b.exact {
			s.problem("%w: page %d: bucket %q leads to page %d, and lane %q is on page %d", pages.ErrCorrupt, at.id, pages.Short([]byte(b.name)), b.root(), name, id)
		}
		seq := pages.Native.Uint64(b.value[8:])
		s.out.sequence(name, seq)
		s.lastSeq = min(s.lastSeq, seq)
		below = append(below, treePage{id: id, depth: 1, hole: hole{lane: name}})
	}
	s.claimTrees(below)
	return below
}

// inline reads a bucket that is stored inside the leaf of its lane.
func (s *salvager) inline(at treePage, off, room int64) {
	b, err := s.Bytes(off, pages.HeaderLen, &s.table)
	if err != nil || room < pages.HeaderLen {
		s.lose(at, errors.New("it is too short"))
		return
	}
	es, _ := s.elements(off, room, pages.ParseHeader(b), false)
	if s.entries(at, off, room, es) > 0 {
		s.lose(at, errors.New("it has damaged entries"))
	}
}

// leaf reads a leaf of a bucket of a lane. sound says whether its header is what the tree says. If
// not, the records that belong here are taken all the same, and the others are left to orphans.
// leaf returns false if the page belongs elsewhere in the tree.
func (s *salvager) leaf(at treePage, h pages.Header, sound bool) bool {
	off := int64(at.id) * s.PageSize
	here, elsewhere := 0, 0
	if holdsRecords(at.bucket) && (!sound || at.from != nil || at.below != nil) {
		s.strays(off, h, func(from int64, k format.Key, v format.Record) {
			if b := bucketOf(k); (b == at.bucket || b == ready && at.bucket == dead) && at.bounds(k) {
				here++
				_, l := s.out.lane(at.lane)
				foreign := h.ID != at.id && len(s.out.lanes) > 1 && !l.takes(k.Seq(), v)
				if !sound && !foreign {
					s.taken[from] = true
				}
				switch {
				case sound, foreign:
				case h.ID != at.id && len(s.out.lanes) > 1: // the page may belong to another lane
					if s.out.trust == nil || s.out.trust(at.lane, at.bucket, k) != none {
						s.out.suspect(at.lane, k, v)
					}
				default:
					s.out.save(at.lane, at.bucket, k, v)
				}
			} else {
				elsewhere++
			}
		})
	}
	if !sound || elsewhere > 0 && here == 0 {
		if sound {
			at.from, at.below = nil, nil // the damage may be in the keys of the branch
		}
		s.lose(at, fmt.Errorf("it has the number %d, the kind %#x, %d records that belong here and %d that do not", h.ID, h.Kind, here, elsewhere))
		return !sound
	}
	es, whole := s.elements(off, s.Size-off, h, false)
	s.keep(at.id, h, es)
	if s.entries(at, off, s.room(off, h, whole), es) > 0 {
		s.lose(at, errors.New("it has damaged entries"))
	}
	return true
}
