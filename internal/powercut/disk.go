// Package powercut takes the power from an outbox, at any operation, on a disk that knows what was
// synced and what was not.
//
// A [Disk] is the model; [Mount] makes it a directory that a process can use. The tests run a store in
// such a process, stop it where a [Plan] says, have the disk lose any part of what was not synced
// ([Disk.Crash]), and look whether everything the store acknowledged is there.
package powercut

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// A Plan says what happens to the process that uses the disk next. The zero Plan lets it be.
type Plan struct {
	// Stop is the operation before which everything stops: the process is killed and the disk does
	// nothing any more. Counted from 1 at Arm or, with Fail, from the failure. 0: none.
	Stop int
	// AtSync makes Stop count syncs alone.
	AtSync bool
	// Fail is the sync that fails, counted from 1. 0: none.
	Fail int
	// Fails is how many syncs fail, in a row. 0 means 1.
	Fails int
	// NoLinks refuses hard links, as some file systems do.
	NoLinks bool
}

// A Disk is one directory: what programs see, and what of it would survive. All methods are safe for
// concurrent use.
type Disk struct {
	mu      sync.Mutex // a leaf; guards what follows
	rng     *rand.Rand
	inodes  map[uint64]*inode // by number; numbers are never used twice, not even after a crash
	last    uint64            // the number last given
	names   map[string]*inode // as programs see them
	synced  map[string]*inode // as they are on disk
	renames []change          // what leads from synced to names

	plan    Plan
	kill    func() // ends the process
	ops     int    // operations since Arm, or since the failure
	syncs   int    // syncs among them
	failed  int    // syncs that were failed since Arm
	stopped bool
}

// An inode is a file.
type inode struct {
	number uint64
	cache  []byte  // as programs see it
	synced []byte  // as it is on disk
	writes []write // what leads from synced to cache
}

// A write puts data at off, and makes the file at least that long.
type write struct {
	off  int64
	data []byte
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

// Arm turns the disk on for a process that kill ends.
func (d *Disk) Arm(p Plan, kill func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan, d.kill, d.stopped = p, kill, false
	d.ops, d.syncs, d.failed = 0, 0, 0
}

// Disarm turns the disk off, and reports what became of the plan: whether it stopped the process, and
// how many syncs it failed.
func (d *Disk) Disarm() (stopped bool, failed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stopped, d.stopped = d.stopped, true
	return stopped, d.failed
}

// step counts an operation and does what the plan has for it. d.mu is held.
func (d *Disk) step(sync bool) error {
	if d.stopped {
		return syscall.EIO
	}
	p := &d.plan
	d.ops++
	if sync {
		d.syncs++
		if p.Fail > 0 && d.failed == 0 && d.syncs < p.Fail {
			return nil
		}
		if p.Fail > 0 && d.failed < max(p.Fails, 1) {
			d.failed++
			d.ops, d.syncs = 0, 0
			return errFailed
		}
	}
	at := p.Stop == d.ops
	if p.AtSync {
		at = sync && p.Stop == d.syncs
	}
	if at && p.Stop > 0 && (p.Fail == 0 || d.failed > 0) {
		d.stopped = true
		d.kill()
		return syscall.EIO
	}
	return nil
}

var errFailed = errors.New("this sync fails by plan") // programs see EIO

// Write writes to a file, in its cache.
func (d *Disk) Write(number uint64, off int64, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err != nil {
		return err
	}
	if err := d.step(false); err != nil {
		return err
	}
	n.write(write{off, slices.Clone(data)})
	return nil
}

func (n *inode) write(w write) {
	n.cache = w.apply(n.cache)
	n.writes = append(n.writes, w)
}

// Extend makes a file longer. Shorter is not modelled, and fails.
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
	if err := d.step(false); err != nil {
		return err
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
	kept, err := n.writes, d.step(true)
	switch err {
	case nil:
		n.writes = nil
	case errFailed:
		err = syscall.EIO
		kept = survivors(d.rng, kept)
		n.writes = []write{{off: int64(len(n.cache))}}
	default:
		return err
	}
	for _, w := range kept {
		n.synced = w.apply(n.synced)
	}
	return err
}

// SyncDir puts the names on disk. When it fails by plan they are not, and the next one will do it.
func (d *Disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(true); err != nil {
		return syscall.EIO
	}
	d.synced = maps.Clone(d.names)
	d.renames = nil
	return nil
}

// Create makes an empty file, in the cache.
func (d *Disk) Create(name string) (number uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(false); err != nil {
		return 0, err
	}
	n := d.add()
	d.rename(change{name: n})
	return n.number, nil
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
	if err := d.step(false); err != nil {
		return err
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
	if err := d.step(false); err != nil {
		return err
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
