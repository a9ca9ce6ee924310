package powercut

import (
	"maps"
	"slices"
	"syscall"
)

// Lookup returns the file of a name.
func (d *Disk) Lookup(name string) (number uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return n.number, nil
	}
	return 0, syscall.ENOENT
}

// Names returns the names there are, as programs see them, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.names))
}

// Size returns the length of a file, as programs see it, and how much room it takes, in bytes.
func (d *Disk) Size(number uint64) (length, room int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	if err != nil {
		return 0, 0, err
	}
	return int64(len(n.cache)), n.taken.n * page, nil
}

// Read fills b from a file, as programs see it, and returns how much of b that was.
func (d *Disk) Read(number uint64, off int64, b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.inode(number)
	switch {
	case err != nil:
		return 0, err
	case d.stopped:
		return 0, syscall.EIO
	case off >= int64(len(n.cache)):
		return 0, nil
	}
	return copy(b, n.cache[off:]), nil
}
