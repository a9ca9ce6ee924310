package store_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// diskMoods are what a disk can be in: commits fail before they are on disk, or after, one in two; or
// the file is out of reach for some seconds as well, so that healing fails.
var diskMoods = [...]string{"ok", "ok", "ok", "slow", "very slow", "fails before", "fails after", "fails", "gone", "gone"}

// A disk is the file of one process, and what goes wrong with it.
type disk struct {
	seed uint64

	mu   sync.Mutex // guards what follows
	mood string
	path string // where the process looks for the file
	away bool   // it does not find it
	n    uint64 // times asked
	late bool   // a commit is on disk, and nobody has been told
}

var errDisk = errors.New("the disk fails, as it was told")

const away = ".away"

// fault is asked before and after each commit.
func (d *disk) fault(committed bool) error {
	d.mu.Lock()
	d.n++
	r := rand.New(rand.NewPCG(d.seed, d.n))
	var wait time.Duration
	var err error
	before := r.IntN(2) == 0
	switch d.mood {
	case "slow":
		wait = time.Duration(r.IntN(30)) * time.Millisecond
	case "very slow":
		wait = time.Duration(r.IntN(1200)) * time.Millisecond
	case "fails before":
		before = true
		err = errDisk
	case "fails after":
		before = false
		err = errDisk
	case "fails", "gone":
		err = errDisk
	}
	if before == committed || r.IntN(2) == 0 {
		err = nil
	}
	if err != nil && d.mood == "gone" && !d.away && os.Rename(d.path, d.path+away) == nil {
		d.away = true
		time.AfterFunc(time.Duration(r.IntN(20_000))*time.Millisecond, d.back)
	}
	d.late = committed
	d.mu.Unlock()
	if wait > 0 {
		time.Sleep(wait)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = false
	return err
}

// told reports whether all that is on disk has been told.
func (d *disk) told() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.late
}

func (d *disk) set(mood string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mood = mood
}

// back brings the file back.
func (d *disk) back() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		d.away = os.Rename(d.path+away, d.path) != nil
	}
}

// heal ends all that is wrong.
func (d *disk) heal() {
	d.set("ok")
	d.back()
}

// copyTo leaves at path what a process that dies now leaves behind. bbolt fills its file from the front,
// and grows it ahead by MiBs: after so much nothing there is nothing more.
func (d *disk) copyTo(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := d.path
	if d.away {
		name += away
	}
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	defer to.Close()
	const chunk = 128 << 10
	for empty := false; !empty; {
		b := make([]byte, chunk)
		n, err := io.ReadFull(from, b)
		b = b[:n]
		empty = err != nil || bytes.Count(b, []byte{0}) == chunk
		if _, err := to.Write(b); err != nil {
			return err
		}
	}
	return to.Truncate(info.Size())
}
