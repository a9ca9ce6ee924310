package outboxtest

import (
	"errors"
	"sync"

	"github.com/seed8107221f/outbox/internal/fault"
)

var (
	errFull    = errors.New("outboxtest: no space left on the disk")
	errCommit  = errors.New("outboxtest: the disk fails")
	errCrashed = errors.New("outboxtest: the process has crashed")
)

// A disk is what the file of an outbox lies on. The goroutine that commits asks it.
type disk struct {
	// busy holds a token while a commit is under way, from its begin to its end. Crash takes it for
	// good, so that it copies a file that nobody writes to.
	busy chan struct{}
	gone chan struct{} // closed by crash

	mu     sync.Mutex // a leaf; guards what follows
	full   bool
	fails  int           // how many commits are to fail
	stored bool          // they are applied all the same
	hang   chan struct{} // closed when commits may go on; nil: they do
}

func newDisk() *disk { return &disk{busy: make(chan struct{}, 1), gone: make(chan struct{})} }

func (d *disk) faults() *fault.Faults { return &fault.Faults{Full: d.isFull, Commit: d.commit} }

func (d *disk) isFull() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return errFull
	}
	return nil
}

func (d *disk) commit(committed bool) error {
	if committed {
		<-d.busy
		return d.fail(true)
	}
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-d.gone:
		}
	}
	if err := d.fail(false); err != nil {
		return err
	}
	select {
	case <-d.gone:
		return errCrashed
	default:
	}
	select {
	case d.busy <- struct{}{}:
		return nil
	case <-d.gone:
		return errCrashed
	}
}

// fail says whether the commit fails, before or after it was applied.
func (d *disk) fail(stored bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails == 0 || d.stored != stored {
		return nil
	}
	d.fails--
	return errCommit
}

// crash lets the commit that is under way end, and no other begin.
func (d *disk) crash() {
	d.busy <- struct{}{}
	close(d.gone)
}

func (d *disk) hangs() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang == nil {
		d.hang = make(chan struct{})
	}
	hang := d.hang
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.hang == hang {
			close(hang)
			d.hang = nil
		}
	}
}

// heal takes all faults back.
func (d *disk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full, d.fails = false, 0
	if d.hang != nil {
		close(d.hang)
		d.hang = nil
	}
}

// FullDisk has the disk be full, or not any more. Put gives outbox.ErrFull; what is queued goes on.
func (b *Outbox) FullDisk(on bool) {
	b.disk.mu.Lock()
	defer b.disk.mu.Unlock()
	b.disk.full = on
}

// FailCommits has the next n commits fail with outbox.ErrStorage. With stored they are on disk all
// the same. All commits count: those of Put, those that record outcomes, and, after a failure, the
// one by which the sender finds out whether the disk works again. So wait for quiet (Settle) if the
// next Put is meant. 0 takes back what is left.
func (b *Outbox) FailCommits(n int, stored bool) {
	b.disk.mu.Lock()
	defer b.disk.mu.Unlock()
	b.disk.fails, b.disk.stored = max(n, 0), stored
}

// HangCommits has every commit hang, before anything is on disk, until release is called or t ends.
// Two calls hang the same commits, and the first release lets them go.
func (b *Outbox) HangCommits() (release func()) { return b.disk.hangs() }
