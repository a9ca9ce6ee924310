package powercut

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Crash takes the power: what was synced remains, and any part of the rest. Files get new numbers,
// so that nothing the kernel kept of them is found again.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := maps.Clone(d.synced)
	for _, i := range subset(d.rng, len(d.renames)) {
		d.renames[i].apply(names)
	}
	// In the order of the numbers, so that a seed draws the same again.
	reborn := make(map[*inode]*inode)
	for _, number := range slices.Sorted(maps.Keys(d.inodes)) {
		old := d.inodes[number]
		delete(d.inodes, number)
		n := d.add()
		n.synced, n.solid = old.synced, old.solid
		d.land(n, survivors(d.rng, old.writes), true)
		n.cache = slices.Clone(n.synced)
		n.taken = blocks{slices.Clone(n.solid.has), n.solid.n}
		reborn[old] = n
	}
	used := make(map[*inode]bool)
	for name, old := range names {
		names[name] = reborn[old]
		used[reborn[old]] = true
	}
	for _, n := range reborn {
		if !used[n] {
			delete(d.inodes, n.number)
		}
	}
	d.names, d.synced, d.renames = names, maps.Clone(names), nil
}

// Wipe makes the disk empty, as a new one.
func (d *Disk) Wipe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inodes, d.names, d.synced, d.renames = make(map[uint64]*inode), make(map[string]*inode), make(map[string]*inode), nil
}

// subset draws which of n un-synced things survive: none, all, a beginning, an end, one, all but
// one, or each by coin. The indices are in order.
func subset(rng *rand.Rand, n int) (kept []int) {
	if n == 0 {
		return nil
	}
	at, coin := rng.IntN(n), func(int) bool { return rng.IntN(2) == 0 }
	keep := [...]func(i int) bool{
		func(int) bool { return false },
		func(int) bool { return true },
		func(i int) bool { return i < at },
		func(i int) bool { return i >= at },
		func(i int) bool { return i == at },
		func(i int) bool { return i != at },
		coin,
	}[rng.IntN(7)]
	for i := range n {
		if keep(i) {
			kept = append(kept, i)
		}
	}
	return kept
}

// Units in which a write reaches the disk.
const (
	sector = 512
	page   = 4096
)

// survivors draws which of the un-synced writes to a file reach the disk: some of them whole, the
// last of these torn in one draw of three, or each sector or each page of all by coin.
func survivors(rng *rand.Rand, writes []write) (kept []write) {
	if unit := [...]int{0, 0, sector, page}[rng.IntN(4)]; unit > 0 {
		for _, w := range writes {
			for _, piece := range w.pieces(unit) {
				if rng.IntN(2) == 0 {
					kept = append(kept, piece)
				}
			}
		}
		return kept
	}
	for _, i := range subset(rng, len(writes)) {
		kept = append(kept, writes[i])
	}
	if last := len(kept) - 1; last >= 0 && rng.IntN(3) == 0 {
		torn := kept[last].pieces(sector)
		kept = append(kept[:last], torn[:rng.IntN(len(torn)+1)]...)
	}
	return kept
}

// pieces cuts a write at the multiples of unit; an extension stays whole.
func (w write) pieces(unit int) (pieces []write) {
	for len(w.data) > unit-int(w.off)%unit {
		n := unit - int(w.off)%unit
		pieces = append(pieces, write{w.off, w.data[:n], w.lost})
		w = write{w.off + int64(n), w.data[n:], w.lost}
	}
	return append(pieces, w)
}
