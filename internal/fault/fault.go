// Package fault lets package outboxtest make the disk of a file fail. A file without faults costs a
// check for nil.
package fault

import "sync"

// Faults are asked by the goroutine that commits, and may block it. A nil function finds nothing.
type Faults struct {
	// Full is asked before a commit that stores new records. Its error refuses them as a full disk
	// does; what else is in the commit goes on.
	Full func() error
	// Commit is asked before and after each commit. Its error makes that commit fail, before or
	// after it is on disk. It is asked after a commit only if it let that commit begin.
	Commit func(committed bool) error
}

var set sync.Map // path to *Faults

// Set makes the next Open of the file at path, which is absolute and without links, ask f. Clear it
// once the file is open.
func Set(path string, f *Faults) (clear func()) {
	set.Store(path, f)
	return func() { set.Delete(path) }
}

// For returns what was set for path; nil: nothing.
func For(path string) *Faults {
	f, _ := set.Load(path)
	faults, _ := f.(*Faults)
	return faults
}
