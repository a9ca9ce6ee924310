package store

import (
	"math"
	"slices"
	"time"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// maxAges bounds an ages. A commit costs at most so many comparisons for each retry.
const maxAges = 64

// An ages knows how old the items of later are, without reading them. later is sorted by Due, so
// its first key tells which items have left it, and not which of the others is the oldest.
//
//   - Each entry says: no item whose Due is at most due was created before created.
//   - Entries ascend in both. An item that is older than another and stays longer makes the entry
//     of the other superfluous. With more than maxAges entries the first two become one.
//   - So oldest is exact with few retries, and never later than the truth. It may be earlier until
//     the last item of an entry is due.
//
// Store.mu guards it. A crash loses it, and reload reads later to make it again.
type ages []age

type age struct {
	due     int64 // as in the keys of later
	created time.Time
}

// add notes an item of later.
func (a *ages) add(n age) {
	i, _ := slices.BinarySearchFunc(*a, n, func(x, n age) int {
		if x.due < n.due {
			return -1
		}
		return 1
	})
	if i < len(*a) && !(*a)[i].created.After(n.created) {
		return // it is not younger, and stays as long
	}
	from := i
	for from > 0 && !(*a)[from-1].created.Before(n.created) {
		from--
	}
	*a = slices.Replace(*a, from, i, n)
	if len(*a) > maxAges {
		(*a)[0].due = (*a)[1].due
		*a = slices.Delete(*a, 1, 2)
	}
}

// passed forgets the items whose Due is before the first one that is left.
func (a *ages) passed(first int64) {
	n := 0
	for n < len(*a) && (*a)[n].due < first {
		n++
	}
	*a = slices.Delete(*a, 0, n)
}

// oldest returns the earliest Created; zero: there are no items.
func (a ages) oldest() time.Time {
	if len(a) == 0 {
		return time.Time{}
	}
	return a[0].created
}

// noteFirsts notes which records come first in ready and later, if others have been removed there.
func (t *txn) noteFirsts() {
	if t.removed[ready] {
		_, v := t.Ready.Cursor().First()
		t.firstReady = format.Record(v).Created()
	}
	if t.removed[later] {
		t.firstDue = math.MaxInt64
		if k, _ := t.Later.Cursor().First(); len(k) == 24 {
			t.firstDue = format.Key(k).Due()
		}
	}
}

// learnOldest takes over what a transaction says about the age of items. s.mu is held.
func (s *Store) learnOldest(t *txn) {
	switch {
	case t.removed[ready]:
		s.firstReady = t.firstReady
	case s.firstReady.IsZero():
		s.firstReady = t.firstCreated
	}
	if t.removed[later] {
		s.retries.passed(t.firstDue)
	}
}

// oldest returns when the oldest item was created that is pending and not scheduled. s.mu is held.
func (s *Store) oldest() time.Time {
	old := s.retries.oldest()
	if old.IsZero() || !s.firstReady.IsZero() && s.firstReady.Before(old) {
		return s.firstReady
	}
	return old
}
