package powercut

import (
	"errors"
	"math"
	"syscall"
)

// A Plan says what happens to the process that uses the disk next. The zero Plan lets it be.
type Plan struct {
	// Stop is the operation before which everything stops: the process is killed and the disk does
	// nothing any more. Counted from 1 at Arm or, with a Fault, from the first failure. 0: none.
	Stop int
	// AtSync makes Stop count syncs alone.
	AtSync bool
	// Fault is what else fails.
	Fault Fault
	// NoLinks refuses hard links, as some file systems do.
	NoLinks bool
}

// A Fault makes operations of one kind fail with EIO. The zero Fault is none.
type Fault struct {
	Kind  Kind
	At    int  // the first that fails, counted from 1 at Arm
	Times int  // how many fail, in a row; 0 means 1
	Short bool // of the first write that fails a beginning is written, as its length tells; its rest fails
}

// Forever are so many Times that only Lift ends them.
const Forever = math.MaxInt

// A Kind is what an operation does.
type Kind int

// The kinds of operations. The zero Kind is none.
const (
	Write    Kind = iota + 1 // to a file
	Truncate                 // a file, to make it longer
	Sync                     // a file or a directory
	Name                     // creates a file, links, moves or removes a name
	kinds
)

func (k Kind) String() string {
	return [kinds]string{"nothing", "write", "truncate", "sync", "name"}[k]
}

// Arm turns the disk on for a process that kill ends, or changes its plan.
func (d *Disk) Arm(p Plan, kill func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan, d.kill, d.stopped = p, kill, false
	d.ops, d.done, d.failed, d.rest = 0, [kinds]int{}, 0, false
}

// Disarm turns the disk off, and reports what became of the plan: whether it stopped the process,
// and how many operations it failed.
func (d *Disk) Disarm() (stopped bool, failed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stopped, d.stopped = d.stopped, true
	return stopped, d.failed
}

// Lift ends the fault of the plan, and all limits.
func (d *Disk) Lift() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan.Fault.Times = d.failed
	if d.failed == 0 {
		d.plan.Fault = Fault{}
	}
	d.capacity, d.thin, d.rest = 0, false, false
}

// Failed returns how many operations have failed by plan since Arm.
func (d *Disk) Failed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// Done returns how many operations of a kind there were since Arm or the first failure.
func (d *Disk) Done(k Kind) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done[k]
}

// step counts an operation and does what the plan has for it. d.mu is held.
func (d *Disk) step(k Kind) error {
	if d.stopped {
		return syscall.EIO
	}
	p, f := &d.plan, &d.plan.Fault
	d.ops++
	d.done[k]++
	if k == f.Kind && (d.failed > 0 || d.done[k] >= f.At) && d.failed < max(f.Times, 1) {
		if d.failed++; d.failed == 1 {
			d.ops, d.done = 0, [kinds]int{}
		}
		return errFailed
	}
	at := p.Stop == d.ops
	if p.AtSync {
		at = k == Sync && p.Stop == d.done[Sync]
	}
	if at && p.Stop > 0 && (f.Kind == 0 || d.failed > 0) {
		d.stopped = true
		d.kill()
		return syscall.EIO
	}
	return nil
}

var errFailed = errors.New("this fails by plan") // programs see EIO

// seen is what programs see of an error.
func seen(err error) error {
	if err == errFailed {
		return syscall.EIO
	}
	return err
}
