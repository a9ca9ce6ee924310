package powercut

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
)

// A compaction goes wrong at its n-th operation, for n = 1, 2, 3, … until it ends before.
type compaction struct {
	how string // asked or itself
	what
}

type what string

const (
	cutIt   what = "a power cut"
	killIt  what = "a kill"
	noSync  what = "a failed sync"
	noWrite what = "a failed write"
	noName  what = "a failed name"
	noRoom  what = "no room"
)

var compactions = func() (all []compaction) {
	for _, how := range []string{"asked", "itself"} {
		for _, w := range []what{cutIt, killIt, noSync, noWrite, noName, noRoom} {
			all = append(all, compaction{how, w})
		}
	}
	return all
}()

func compacting(l *life) error {
	return l.compactions(compactions[l.seed%uint64(len(compactions))])
}

// compactingCut is compacting with power cuts alone.
func compactingCut(l *life) error { return l.compactions(compaction{"asked", cutIt}) }

// compactions has one compaction after the other go wrong; after what is not a cut anyway the power goes
// one time in two.
func (l *life) compactions(c compaction) error {
	if err := l.run(Plan{}, 40); err != nil {
		return err
	}
	l.settled()
	for n := 1; ; n++ {
		if c.how == "itself" {
			l.inflate()
		}
		reached, err := l.compact(c, n)
		if err != nil {
			return fmt.Errorf("compaction, %s, %s at %d: %w", c.how, c.what, n, err)
		}
		if !reached {
			return l.small()
		}
		l.rounds++
	}
}

func (l *life) compact(c compaction, n int) (reached bool, err error) {
	fails, full := l.fails, l.full
	plan := map[what]Plan{
		cutIt:   {Stop: n},
		killIt:  {Stop: n},
		noSync:  {Fault: Fault{Kind: Sync, At: n}},
		noWrite: {Fault: Fault{Kind: Write, At: n, Short: n%2 == 0}},
		noName:  {Fault: Fault{Kind: Name, At: n}},
	}[c.what]
	set := func(arm func(Plan)) {
		if arm(plan); c.what == noRoom {
			l.disk.Limit(l.disk.Used()+int64(n)*page, false)
		}
	}
	first := Plan{}
	if c.how == "itself" { // it begins as soon as the store is open
		first = plan
		set(func(Plan) {})
	}
	err = l.script("compact "+c.how, first, 0, func(_ string, arm func(Plan)) string {
		if c.how == "asked" {
			set(arm)
		}
		return "go on"
	})
	l.disk.Lift()
	reached = l.stopped || l.fails > fails || l.full > full
	if c.what != cutIt {
		l.kill()
	}
	if c.what == cutIt && l.stopped || reached && l.rng.IntN(2) == 0 {
		l.cut()
	}
	return reached, err
}

const inflated = 33 << 20 // bytes: beyond what a file may have and not be compacted

// inflate makes the file as long as a backlog leaves it that was delivered: with free pages, of which
// there is no list, up to a high-water mark.
func (l *life) inflate() {
	l.disk.Arm(Plan{}, nil)
	defer l.disk.Disarm()
	n, err := l.disk.Lookup("outbox")
	if err != nil {
		return
	}
	if err := l.disk.Extend(n, inflated); err != nil {
		return // it is longer
	}
	for off := int64(0); off < 2*page; off += page { // bbolt's two meta pages
		const header, freelist, mark, sum = 16, 48, 56, 72
		b := make([]byte, sum+8)
		_, _ = l.disk.Read(n, off, b)
		binary.NativeEndian.PutUint64(b[freelist:], math.MaxUint64)
		binary.NativeEndian.PutUint64(b[mark:], inflated/page)
		h := fnv.New64a()
		_, _ = h.Write(b[header:sum])
		binary.NativeEndian.PutUint64(b[sum:], h.Sum64())
		_, _ = l.disk.Write(n, off, b)
	}
	_ = l.disk.Sync(n)
}

// small reports whether the file has been compacted, and nothing left behind that came before.
func (l *life) small() error {
	if names := l.disk.Names(); !slices.Equal(names, []string{"outbox"}) {
		return fmt.Errorf("there is more than the store: %q", names)
	}
	n, err := l.disk.Lookup("outbox")
	if err != nil {
		return err
	}
	if size, _, err := l.disk.Size(n); err != nil || size >= inflated {
		return fmt.Errorf("the file has %d bytes after compaction, %v", size, err)
	}
	return nil
}

// settled makes the names durable, so that it is the compaction that loses them.
func (l *life) settled() {
	l.disk.Arm(Plan{}, nil)
	_ = l.disk.SyncDir()
	l.disk.Disarm()
}
