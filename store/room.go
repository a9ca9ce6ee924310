package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// The file is written with zeros ahead of what bbolt uses. What is there cannot be refused by a full
// disk, and to write into it costs the file system less than to extend the file. Items are stored as
// long as a reserve is left; what makes room, by settling, dropping and burying, may use that as well.
const (
	reserve     = 512 << 10
	mostReserve = 8 << 20   // for the largest item, besides
	leastAhead  = 256 << 10 // bytes, the least by which the file is extended
	mostAhead   = 2 << 20

	pathBytes   = 64 << 10 // of the pages from the root to a leaf, at most
	recordExtra = 96       // for each, what bbolt adds and what remains empty behind it

	fullFor = time.Second // how long after the disk had no room it is asked again
)

// errNoSpace is the reason of sender.ErrFull that nobody here can end.
var errNoSpace = errors.New("no space left on the disk")

// admitted returns the writes of a group that there is room for, and answers the others with sender.ErrFull.
func (f *file) admitted(tx *bolt.Tx, group []*write) ([]*write, error) {
	if !f.own {
		return group, nil
	}
	kept := int64(reserve)
	if uncured == "reserve" {
		kept = 0
	}
	need, lanes := int64(0), make(map[*Store]bool, 1)
	for _, w := range group {
		need += w.pages()
		if !lanes[w.lane] && w.size > 0 {
			lanes[w.lane] = true
			kept += pathBytes
		}
		for i := range w.records {
			f.grown(len(w.records[i].value))
		}
	}
	kept += 2 * f.largest.Load() // it may have to be written once more
	need += kept
	used := tx.Size()
	if f.size-used < need && !f.now().Before(f.fullAt.Add(fullFor)) {
		err := f.extend(used + need + min(max(used/8, leastAhead), mostAhead))
		switch {
		case err == nil:
			f.fullAt = time.Time{}
		case isFull(err):
			f.fullAt = f.now()
		default:
			return group, fmt.Errorf("extending the file: %w", err)
		}
	}
	if f.size-used >= need {
		return group, nil
	}
	// Free pages may lie too scattered for what is to be stored: half of them count.
	room := f.size - used + int64(tx.DB().Stats().FreePageN)*int64(tx.DB().Info().PageSize)/2
	if room >= need {
		return group, nil
	}
	room -= kept
	fits := group[:0]
	for _, w := range group {
		n := w.pages()
		if n > 0 && n > room {
			w.answer(fmt.Errorf("%w: %w of %s: %d bytes are to be stored where %d are left: nothing was stored", sender.ErrFull, errNoSpace, f.path, n, max(room, 0)))
			continue
		}
		room -= n
		fits = append(fits, w)
	}
	return fits, nil
}

// pages bounds the bytes of the pages that storing the items of a write may take: theirs, with what bbolt
// adds and half empty at worst, and, if some are scheduled, the path to where those lie; 0 when it stores none.
func (w *write) pages() int64 {
	n := 2*int64(w.size) + recordExtra*int64(len(w.records))
	if slices.ContainsFunc(w.records, func(p prepared) bool { return p.timed != 0 }) {
		n += pathBytes
	}
	return n
}

// zeros are written in pieces that stay in the cache of a core: those of a megabyte took twice as long.
var zeros [64 << 10]byte

// extend writes zeros up to size and syncs them: what is not on disk may still find no room there, as on
// a thin pool. What was written counts, also when there was no room for all.
func (f *file) extend(size int64) error {
	end, err := f.size, error(nil)
	for end < size && err == nil {
		var n int
		n, err = f.raw.WriteAt(zeros[:min(int64(len(zeros)), size-end)], end)
		end += int64(n)
	}
	if end == f.size {
		return err
	}
	if unsynced := f.raw.Sync(); unsynced != nil {
		return errors.Join(err, unsynced)
	}
	f.size = end
	return err
}

// grown notes the size of a record that may have to be written again on a full disk.
func (f *file) grown(n int) {
	for to := int64(min(n, mostReserve)); ; {
		was := f.largest.Load()
		if to <= was || f.largest.CompareAndSwap(was, to) {
			return
		}
	}
}
