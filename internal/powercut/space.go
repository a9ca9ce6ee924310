package powercut

import "syscall"

// Limit makes the disk hold that many bytes of pages, all files together; what was there already
// stays. Beyond it a write fails with ENOSPC, whole or behind a beginning. A thin disk takes every
// write, and it is the sync that fails, for what it would have to find new pages for: as with any
// failed sync the rest is then taken for written. Until Lift.
func (d *Disk) Limit(capacity int64, thin bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity, d.thin = capacity, thin
}

// Full returns how often the limit was met.
func (d *Disk) Full() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// Used returns the bytes of the pages in use.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

// used is Used with d.mu held. A file without a name takes room as long as it is open.
func (d *Disk) used() (n int64) {
	named := make(map[*inode]bool)
	for _, i := range d.names {
		named[i] = true
	}
	for _, i := range d.inodes {
		if named[i] || i.opens > 0 {
			b := &i.taken
			if d.thin {
				b = &i.solid
			}
			n += b.n * page
		}
	}
	return n
}

// blocks are the pages of a file that have a place on the disk: the others read as zeros.
type blocks struct {
	has []bool
	n   int64
}

// lacks counts the pages of a write that have no place.
func (b *blocks) lacks(w write) (n int64) {
	for i := w.off / page; i*page < w.end() && len(w.data) > 0; i++ {
		if i >= int64(len(b.has)) || !b.has[i] {
			n++
		}
	}
	return n
}

func (b *blocks) add(w write) {
	for i := w.off / page; i*page < w.end() && len(w.data) > 0; i++ {
		for int64(len(b.has)) <= i {
			b.has = append(b.has, false)
		}
		if !b.has[i] {
			b.has[i] = true
			b.n++
		}
	}
}

// fit returns the beginning of a write to n that the disk has room for. d.mu is held.
func (d *Disk) fit(n *inode, w write) write {
	if d.capacity == 0 || d.thin || n.taken.lacks(w) == 0 {
		return w
	}
	room := d.capacity - d.used()
	if n.taken.lacks(w)*page <= room {
		return w
	}
	d.full++
	if d.rng.IntN(2) == 0 {
		return write{off: w.off}
	}
	var some write
	for _, p := range w.pieces(page) {
		if room -= n.taken.lacks(p) * page; room < 0 {
			break
		}
		some = write{w.off, w.data[:p.end()-w.off], false}
	}
	return some
}

// sink is what a thin disk without room does at a sync of n: what has a place may get there, and
// nothing else does. d.mu is held.
func (d *Disk) sink(n *inode) error {
	if d.capacity == 0 || !d.thin {
		return nil
	}
	all, need := blocks{has: append([]bool(nil), n.solid.has...)}, int64(0)
	for _, w := range n.writes {
		need += all.lacks(w)
		all.add(w)
	}
	if need == 0 || d.used()+need*page <= d.capacity {
		return nil
	}
	d.full++
	var kept []write
	for _, w := range n.writes {
		for _, p := range w.pieces(page) {
			if n.solid.lacks(p) == 0 {
				kept = append(kept, p)
			}
		}
	}
	d.lose(n, kept)
	return syscall.ENOSPC
}
