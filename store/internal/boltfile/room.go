package boltfile

import (
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The File writes zeros to the file ahead of what bbolt uses, and syncs them. The disk cannot
// refuse a write to bytes that are there already, and such a write costs the file system less than
// one that extends the file.
//
//   - f.size is how far the file is written and synced; f.used is how much of that bbolt uses.
//   - A write that stores records is admitted only if its pages fit below f.size, in front of a
//     reserve.
//   - A write that stores none, because it settles, drops or quarantines items, may use the
//     reserve.
//   - So a full disk is noticed before the transaction begins to change pages, and answers cost no
//     commit.
//
// A crash while zeros are written leaves a file that is longer than bbolt knows, which it ignores.
// Only the commit goroutine calls these functions, except NoteLargest.

// Sizes in bytes.
const (
	reserve     = 512 << 10 // kept free for writes that store nothing
	mostReserve = 8 << 20   // the largest record for which the reserve grows
	leastAhead  = 256 << 10 // the file is extended by at least this much
	mostAhead   = 2 << 20   // and by at most this much, beyond what is needed

	pathBytes   = 64 << 10 // pages from the root to a leaf, at most
	recordExtra = 96       // for each record: what bbolt adds, and what stays empty behind it
)

// FullFor is how long a full disk is taken to be full: until then the File does not ask it again.
const FullFor = time.Second

// admit returns the writes of a group that there is room for. It answers the others with
// ErrNoSpace, which name how many bytes they need and how many are left. It extends the file if
// that is necessary. The result aliases group.
func (f *File) admit(tx *bolt.Tx, group []*Write) ([]*Write, error) {
	if !f.own {
		return group, nil
	}
	group = f.refuseFull(group)
	kept := int64(reserve)
	if withoutFix == "reserve" {
		kept = 0
	}
	need, lanes := int64(0), make(map[Lane]bool, 1)
	for _, w := range group {
		need += w.maxBytes()
		if !lanes[w.Lane] && w.Bytes > 0 {
			lanes[w.Lane] = true
			kept += pathBytes
		}
		f.NoteLargest(w.Largest)
	}
	kept += 2 * f.largest.Load() // a settled item is written again, for example among the dead
	need += kept
	used := tx.Size()
	if f.size-used < need && !f.now().Before(f.fullAt.Add(FullFor)) {
		err := f.extend(used + need + min(max(used/8, leastAhead), mostAhead))
		switch {
		case err == nil:
			f.fullAt = time.Time{}
		case isFull(err):
			f.fullAt, f.fullErr = f.now(), whyFull(withoutPath(err))
		default:
			return group, fmt.Errorf("extending the file: %w", withoutPath(err))
		}
	}
	if f.size-used >= need {
		return group, nil
	}
	// Free pages may be too scattered for what is to be stored, so half of them count.
	room := f.size - used + int64(tx.DB().Stats().FreePageN)*int64(tx.DB().Info().PageSize)/2
	if room >= need {
		return group, nil
	}
	room -= kept
	fits := group[:0]
	for _, w := range group {
		n := w.maxBytes()
		if n > 0 && n > room {
			w.answer(fmt.Errorf("%w: %w: %d bytes are to be stored where %d are left: nothing was stored", ErrNoSpace, f.fullErr, n, max(room, 0)))
			continue
		}
		room -= n
		fits = append(fits, w)
	}
	return fits, nil
}

// refuseFull refuses what is to be stored if a test wants the disk to be full.
func (f *File) refuseFull(group []*Write) []*Write {
	if f.fault == nil || f.fault.Full == nil {
		return group
	}
	err := f.fault.Full()
	if err == nil {
		return group
	}
	return slices.DeleteFunc(group, func(w *Write) bool {
		if w.Bytes > 0 {
			w.answer(fmt.Errorf("%w: %w: nothing was stored", ErrNoSpace, err))
		}
		return w.Bytes > 0
	})
}

// maxBytes returns how many bytes of pages the records of a write take at most: pages that are half
// empty, and the path to them if they are scattered; 0: the write stores no records.
func (w *Write) maxBytes() int64 {
	if w.Bytes == 0 {
		return 0
	}
	n := 2*int64(w.Bytes) + recordExtra*int64(w.Items)
	if w.Scattered {
		n += pathBytes
	}
	return n
}

// zeros is what extend writes at a time. It fits into the cache of a core: pieces of a megabyte
// took twice as long.
var zeros [64 << 10]byte

// extend writes zeros up to size and syncs them. Without the sync the disk could still refuse them
// later, as a thin pool does. After an error, the zeros that were written and synced count.
func (f *File) extend(size int64) error {
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

// NoteLargest notes that the file holds a record of n bytes, which may have to be written again on
// a full disk. The reserve grows with the largest. It may be called from any goroutine.
func (f *File) NoteLargest(n int) {
	for to := int64(min(n, mostReserve)); ; {
		was := f.largest.Load()
		if to <= was || f.largest.CompareAndSwap(was, to) {
			return
		}
	}
}
