// Package powercut takes the power from an outbox, at any operation, on a disk that knows what was
// synced and what was not.
//
// A [Disk] is the model; [Mount] makes it a directory that a process can use. The tests run a store
// in such a process, stop it where a [Plan] says, have the disk lose any part of what was not
// synced ([Disk.Crash]), and look whether everything the store acknowledged is there.
package powercut

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// A Disk is one directory: what programs see, and what of it would survive. All methods are safe
// for concurrent use.
type Disk struct {
	mu      sync.Mutex // a leaf; guards what follows
	rng     *rand.Rand
	inodes  map[uint64]*inode // by number; numbers are never used twice, not even after a crash
	last    uint64            // the number last given
	names   map[string]*inode // as programs see them
	synced  map[string]*inode // as they are on disk
	renames []change          // what leads from synced to names

	plan    Plan
	kill    func()     // ends the process
	ops     int        // operations since Arm, or since the first failure
	done    [kinds]int // those of each kind among them
	failed  int        // operations that failed by plan since Arm
	rest    bool       // the last write was short, and its rest is to fail
	stopped bool

	capacity int64 // in bytes; 0: no limit
	thin     bool  // the limit is met by syncs, not by writes
	full     int   // times that it was met
}

// An inode is a file.
type inode struct {
	number uint64
	cache  []byte  // as programs see it
	synced []byte  // as it is on disk
	writes []write // what leads from synced to cache
	taken  blocks  // of cache
	solid  blocks  // of synced
	opens  int     // by programs
}

// A write puts data at off, and makes the file at least that long.
type write struct {
	off  int64
	data []byte
	lost bool // it stands for data that a failed sync forgot
}

func (w write) end() int64 { return w.off + int64(len(w.data)) }

func (w write) apply(to []byte) []byte {
	if grow := w.end() - int64(len(to)); grow > 0 {
		to = append(to, make([]byte, grow)...)
	}
	copy(to[w.off:], w.data)
	return to
}

// A change gives names to inodes, all or none; nil takes a name away.
type change map[string]*inode

func (c change) apply(to map[string]*inode) {
	for name, n := range c {
		if n == nil {
			delete(to, name)
		} else {
			to[name] = n
		}
	}
}

// NewDisk returns an empty disk, whose losses are drawn from rng.
func NewDisk(rng *rand.Rand) *Disk {
	return &Disk{rng: rng, inodes: make(map[uint64]*inode), last: rootNumber,
		names: make(map[string]*inode), synced: make(map[string]*inode)}
}

const rootNumber = 1 // of the directory

// Write writes to a file, in its cache, and returns how much it wrote.
func (d *Disk) Write(number uint64, off int64, data []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err != nil {
		return 0, err
	}
	if d.rest && !d.stopped {
		d.rest = false
		return 0, syscall.EIO
	}
	w := write{off: off, data: data}
	switch err := d.step(Write); {
	case err == errFailed && d.plan.Fault.Short && d.failed == 1 && len(data) > 1:
		w.data = data[:1+d.rng.IntN(len(data)-1)]
		d.rest = true
	case err != nil:
		return 0, seen(err)
	}
	if w = d.fit(n, w); len(w.data) == 0 && len(data) > 0 {
		return 0, syscall.ENOSPC
	}
	w.data = slices.Clone(w.data)
	n.write(w)
	return len(w.data), nil
}

func (n *inode) write(w write) {
	n.cache = w.apply(n.cache)
	n.taken.add(w)
	n.writes = append(n.writes, w)
}

// Extend makes a file longer, with a hole. Shorter is not modelled, and fails.
func (d *Disk) Extend(number uint64, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err != nil {
		return err
	}
	if size < int64(len(n.cache)) {
		return syscall.ENOTSUP
	}
	if err := d.step(Truncate); err != nil {
		return seen(err)
	}
	n.write(write{off: size})
	return nil
}

// Sync puts a file on disk. When it fails by plan, any part of the file gets there, and the rest is
// taken for written, as on Linux: it is seen, and never written unless a program writes it again.
// The length is not lost like that; it belongs to the file system, which will try again.
func (d *Disk) Sync(number uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err != nil {
		return err
	}
	switch err := d.step(Sync); err {
	case nil:
	case errFailed:
		d.lose(n, survivors(d.rng, n.writes))
		return seen(err)
	default:
		return err
	}
	if err := d.sink(n); err != nil {
		return err
	}
	d.land(n, n.writes, false)
	n.writes = nil
	return nil
}

// lose forgets what is not on disk, except the writes kept, which get there, and the length.
func (d *Disk) lose(n *inode, kept []write) {
	d.land(n, kept, true)
	n.writes = []write{{off: int64(len(n.cache)), lost: true}}
}

// land puts writes on disk. torn: other writes were lost between them. What the file is longer by,
// and was lost, is zeros or, by coin, what lay there before on the disk.
func (d *Disk) land(n *inode, writes []write, torn bool) {
	garbage := d.rng.IntN(2) == 0
	end := int64(0)
	for _, w := range writes {
		if torn = torn || w.lost; torn && garbage {
			end = max(end, w.end())
		}
	}
	if grow := end - int64(len(n.synced)); grow > 0 {
		b := make([]byte, grow)
		for i := range b {
			b[i] = byte(d.rng.Uint32()) | 1 // never a zero
		}
		n.synced = append(n.synced, b...)
	}
	for _, w := range writes {
		n.synced = w.apply(n.synced)
		n.solid.add(w)
	}
}

// SyncDir puts the names on disk. When it fails by plan they are not, and the next one will do it.
func (d *Disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(Sync); err != nil {
		return seen(err)
	}
	d.synced = maps.Clone(d.names)
	d.renames = nil
	return nil
}

// Create makes an empty file, in the cache, and opens it.
func (d *Disk) Create(name string) (number uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(Name); err != nil {
		return 0, seen(err)
	}
	n := d.add()
	n.opens++
	d.rename(change{name: n})
	return n.number, nil
}

// Open opens a file, which keeps its content, even without a name, until Release.
func (d *Disk) Open(number uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err == nil {
		n.opens++
	}
	return err
}

// Release takes an Open or a Create back.
func (d *Disk) Release(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.inodes[number]; n != nil {
		n.opens--
	}
}

// Link gives a file another name, in the cache.
func (d *Disk) Link(number uint64, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	switch {
	case err != nil:
		return err
	case d.names[name] != nil:
		return syscall.EEXIST
	case d.plan.NoLinks:
		return syscall.EPERM
	}
	if err := d.step(Name); err != nil {
		return seen(err)
	}
	d.rename(change{name: n})
	return nil
}

// Rename moves a name onto another, in the cache; an empty one removes it.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[from]
	if n == nil {
		return syscall.ENOENT
	}
	if err := d.step(Name); err != nil {
		return seen(err)
	}
	c := change{from: nil}
	if to != "" {
		c[to] = n
	}
	d.rename(c)
	return nil
}

func (d *Disk) rename(c change) {
	c.apply(d.names)
	d.renames = append(d.renames, c)
}

func (d *Disk) add() *inode {
	d.last++
	n := &inode{number: d.last}
	d.inodes[n.number] = n
	return n
}

func (d *Disk) inode(number uint64) (*inode, error) {
	if n := d.inodes[number]; n != nil {
		return n, nil
	}
	return nil, syscall.ESTALE
}
