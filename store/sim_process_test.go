package store_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// lane is a lane of the file, over all processes.
type lane struct {
	s     *simulation
	name  string
	o     outbox.Options
	batch bool
	dest  *destination // two lanes with one destination share a limiter

	events []*event          // guarded by simulation.mu, as are the next two
	byName map[string]*event // by the beginning of their payload
	byKey  map[string][]*event

	orders orders // of its operator

	// Of the process that runs.
	w   *watched
	p   *process
	box *outbox.Outbox
}

// furnish decides what this seed is about.
func (s *simulation) furnish() {
	pick := func() bool { return s.rng.IntN(2) == 0 }
	s.faults.destination = s.rng.IntN(8) > 0
	s.faults.disk, s.faults.clock, s.faults.crash = pick(), s.rng.IntN(4) == 0, s.rng.IntN(4) > 0
	names := []string{"outbox", "mail"}[:1+s.rng.IntN(3)/2]
	for i, name := range names {
		l := &lane{s: s, name: name, batch: pick(), byName: make(map[string]*event), byKey: make(map[string][]*event)}
		if pick() {
			l.o.Store.MaxPending = 5 + s.rng.IntN(60)
			l.o.Store.Block = pick()
		}
		l.o.Store.Gather = []time.Duration{0, -1, time.Second}[s.rng.IntN(3)]
		l.o.Store.LockTimeout = -1
		l.o.Sender.Concurrency = 1 + s.rng.IntN(8)
		l.o.Sender.Timeout = 2 * time.Second
		l.o.Sender.MaxAttempts = []int{1, 3, 0, -1}[s.rng.IntN(4)]
		l.o.Sender.AtMostOnce = s.rng.IntN(4) == 0
		l.o.Sender.Backoff = func(attempt int) time.Duration {
			return min(time.Duration(attempt*attempt)*100*time.Millisecond, 30*time.Second)
		}
		if i == 1 && pick() && s.dests[0].limit > 0 {
			l.dest = s.dests[0]
		} else {
			l.dest = &destination{s: s, mood: "ok", window: time.Second}
			switch s.rng.IntN(8) {
			case 0, 1, 2:
			case 3:
				l.dest.limit = 4 // too few for a bucket
			case 4:
				l.dest.limit, l.dest.window = 50, 10*time.Second
			default:
				l.dest.limit = 10 + s.rng.IntN(20)
			}
			s.dests = append(s.dests, l.dest)
		}
		s.lanes = append(s.lanes, l)
	}
}

func (s *simulation) newPath() string {
	s.files++
	return filepath.Join(s.dir, fmt.Sprint(s.files, ".db"))
}

// open begins a process, with what the file says.
func (s *simulation) open(path string) {
	st, err := store.OpenAt(path, &s.lanes[0].o.Store, s.clock.now)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.epoch = s.clock.offset()
	s.mu.Unlock()
	s.disk = &disk{seed: s.rng.Uint64(), mood: "ok", path: path}
	for i, l := range s.lanes {
		l.w = &watched{Store: st, l: l}
		if i > 0 {
			if l.w.Store, err = st.Lane(l.name, &l.o.Store); err != nil {
				s.t.Fatal(err)
			}
		}
		l.learns()
	}
	st.Fault(s.disk.fault)
	for _, d := range s.dests {
		var shared sender.Limiter
		if d.limit > 0 {
			shared = limiter.Within(d.limit, d.window)
		}
		for _, l := range s.lanes {
			if l.dest == d {
				l.o.Limiter = shared
			}
		}
	}
	for _, l := range s.lanes {
		l.p = &process{destination: l.dest, l: l, busy: make(map[string]int), flying: make(map[*plan]bool)}
		var tr sender.Transport = l.p
		if l.batch {
			tr = batching{l.p}
		}
		if l.box, err = outbox.New(l.w, tr, &l.o); err != nil {
			s.t.Fatal(err)
		}
	}
}

// learns compares the file as a new process finds it with what may have become of each event.
func (l *lane) learns() {
	s := l.s
	if err := l.w.Check(s.t.Context()); err != nil {
		s.t.Error(err)
	}
	found := make(map[string]fates)
	for is, list := range map[fates]func(func(sender.Item, error) bool){pending: l.w.Pending(), dead: l.w.Dead()} {
		for it, err := range list {
			name := nameOf(it.Payload)
			if err != nil || found[name] != 0 || is == dead && it.LastErr == "" {
				s.t.Errorf("lane %s: %s is listed as %v for %q, and %v before: %v", l.name, it.Payload, is, it.LastErr, found[name], err)
			}
			found[name] = is
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moment++
	for _, e := range l.events {
		is := found[e.name]
		delete(found, e.name)
		might := e.can & is
		switch {
		case is == dead && e.can&sending != 0:
			might = dead
		case is == 0:
			might = e.can & (absent | delivered | expired | dropped)
		}
		if might == 0 {
			s.fault("%v is %v, and the file has it as %v", e, e.can, cmp.Or(is, absent))
		}
		e.can = might
		e.returned = cmp.Or(e.returned, s.moment)
		if s.faults.clock {
			e.due = time.Time{}
		}
	}
	for name := range found {
		s.fault("lane %s: the file has %s, which was never put", l.name, name)
	}
	l.dest.restarted(l, s.clock.offset())
	l.learnsOrder()
	l.addsUp(l.w.Counts())
}

// shut ends an outbox without a flush.
func (s *simulation) shut(l *lane) (time.Duration, error) { return 6 * time.Second, l.box.Close() }

// close ends the process in an orderly way, and returns the path of its file.
func (s *simulation) close(how func(*lane) (within time.Duration, err error)) string {
	for _, l := range s.lanes {
		began := time.Now()
		within, err := how(l)
		if err != nil && !errors.Is(err, outbox.ErrPending) && !s.excused(err) {
			s.t.Errorf("closing: %v", err)
		}
		if took := time.Since(began); took > within {
			s.t.Errorf("closing took %v, %v promised", took, within)
		}
		if _, err := l.box.Put(context.Background(), outbox.Event{}); !errors.Is(err, outbox.ErrClosed) {
			s.t.Errorf("put after closing: %v", err)
		}
		s.mu.Lock()
		l.p.stop()
		s.mu.Unlock()
	}
	if err := s.lanes[0].w.Store.Close(); err != nil && !s.excused(err) {
		s.t.Errorf("closing the file: %v", err)
	}
	s.putters.Wait()
	s.mu.Lock()
	for _, l := range s.lanes {
		l.w.gone = true
	}
	s.mu.Unlock()
	s.disk.heal()
	return s.disk.path
}

// excused reports whether an error is the fault of the disk, and its caller had to expect it.
func (s *simulation) excused(err error) bool {
	return s.faults.disk && (errors.Is(err, sender.ErrStorage) || errors.Is(err, context.DeadlineExceeded))
}

func (s *simulation) reopen(path string) (failed bool) {
	s.open(path)
	return s.broken()
}

// crash goes on with what a killed process would have left: the file as it is now, maybe in the middle
// of a commit. What is left of the process itself ends on the side.
func (s *simulation) crash() {
	synctest.Wait()
	path := s.newPath()
	if err := s.disk.copyTo(path); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	for _, l := range s.lanes {
		l.w.gone = true
		l.p.stop()
	}
	s.mu.Unlock()
	old, boxes, file := s.disk, []*outbox.Outbox(nil), s.lanes[0].w.Store
	for _, l := range s.lanes {
		boxes = append(boxes, l.box)
	}
	s.remains.Go(func() {
		old.heal()
		for _, b := range boxes {
			b.Close()
		}
		file.Close()
		os.Remove(old.path)
	})
	s.open(path)
}
