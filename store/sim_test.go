package store_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/internal/campaign"
)

var (
	simSeed  = flag.Uint64("seed", 0, "simulate this seed alone; 0: many")
	simRuns  = flag.Int("runs", 0, "simulate so many seeds; 0: 30, one with -short, 12 with -race, 200 with OUTBOX_LONG=1")
	simSteps = flag.Int("steps", 300, "steps of each seed")
)

// TestSimulation does at random whatever an application, a destination, a disk, a clock and a kill can
// do, over the real outbox, sender, limiter and store, and compares with a model that only knows what
// was promised. In the end all faults stop, and everything must come to its end in time.
//
// A seed decides what is done and when, and what each answer and each commit is to be. The order of
// goroutines that are ready at the same moment, and the jitter of the sender's backoff, it does not: a
// seed that fails once in a while wants -count.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		simulate(t, *simSeed)
		return
	}
	runs := campaign.Pick(200, 30, 1)
	if raceDetector() && !campaign.Long() {
		runs = min(runs, 12)
	}
	if *simRuns > 0 {
		runs = *simRuns
	}
	for i := range runs {
		t.Run(fmt.Sprint("seed=", i+1), func(t *testing.T) {
			t.Parallel()
			simulate(t, uint64(i+1))
		})
	}
}

// raceDetector reports whether everything takes ten times as long.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// simulation is one seed. Its steps are taken by one goroutine, which owns what mu does not guard.
type simulation struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	clock *machine
	dir   string
	files int
	lanes []*lane
	dests []*destination

	faults struct{ destination, disk, clock, crash bool } // which there are

	disk    *disk          // of the process that runs
	putters sync.WaitGroup // those who put beside the steps
	remains sync.WaitGroup // what is left of processes that were killed

	mu      sync.Mutex    // guards what follows, the lanes' events, the destinations and the processes
	moment  int           // counts what happens in an application
	epoch   time.Duration // by how much the wall clock was off when the process that runs began
	longest time.Duration // that anything was told to wait
	found   []string      // broken promises
	trace   []string      // the latest steps
}

const clockFormat = "15:04:05.000"

// fault notes a broken promise. s.mu is held.
func (s *simulation) fault(format string, args ...any) {
	s.found = append(s.found, time.Now().Format(clockFormat+" ")+fmt.Sprintf(format, args...))
}

func (s *simulation) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.trace) > 40 {
		s.trace = s.trace[1:]
	}
	s.trace = append(s.trace, time.Now().Format(clockFormat+" ")+fmt.Sprintf(format, args...))
}

// broken reports broken promises, which end a run.
func (s *simulation) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.found {
		if i == 5 {
			s.t.Errorf("and %d more", len(s.found)-i)
			break
		}
		s.t.Error(f)
	}
	return len(s.found) > 0 || s.t.Failed()
}

func simulate(t *testing.T, seed uint64) {
	dir := memoryDir(t)
	real := time.Now()
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), dir: dir}
		s.clock = &machine{t: t, real: real, zero: time.Now()}
		s.furnish()
		s.open(s.newPath())
		failed := s.run()
		if !failed {
			failed = s.drain()
		}
		if !failed {
			failed = s.reopen(s.close(s.shut))
		}
		s.close(s.shut)
		s.remains.Wait()
		time.Sleep(10 * time.Second) // for the calls that ignore their context
		synctest.Wait()
		if left := goroutines(); !failed && left != "" {
			t.Errorf("goroutines are left behind:\n%s", left)
		}
		if failed || t.Failed() {
			t.Logf("the last steps:\n%s", strings.Join(s.trace, "\n"))
			t.Errorf("again: go test ./store -run '^TestSimulation$' -seed %d -steps %d", seed, *simSteps)
		}
	})
}

func (s *simulation) run() (failed bool) {
	for range *simSteps {
		s.step()
		if s.check(); s.broken() {
			return true
		}
	}
	return false
}

// check compares what the lanes count with the model, while everything stands still.
func (s *simulation) check() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		l.addsUp(l.w.Counts())
	}
}

// drain ends all faults and sees whether everything comes to its end, in the time that the longest
// wait that anyone asked for, the lane's and the items' backoff, and the limit allow.
func (s *simulation) drain() (failed bool) {
	s.note("all faults end")
	s.disk.heal()
	s.mu.Lock()
	for _, d := range s.dests {
		d.mood, d.healed = "ok", true
	}
	s.mu.Unlock()
	s.putters.Wait()
	for _, l := range s.lanes {
		l.resume()
	}
	time.Sleep(10 * time.Second) // for the answers that are on their way
	patience := 5 * time.Minute
	s.mu.Lock()
	for _, l := range s.lanes {
		for _, e := range l.events {
			s.longest = max(s.longest, e.notBefore.Sub(s.clock.now()))
		}
		if l.dest.limit > 0 {
			patience += 2 * time.Duration(l.box.Stats().Pending) * l.dest.window / time.Duration(l.dest.limit)
		}
	}
	patience += s.longest
	s.mu.Unlock()
	began := time.Now()
	for pause := time.Second; s.pendings() > 0; pause += pause / 4 {
		if waited := time.Since(began); waited > patience {
			for _, l := range s.lanes {
				s.t.Errorf("lane %s: %v after the last fault events are still pending: %+v", l.name, waited, l.box.Stats())
			}
			break
		}
		time.Sleep(min(pause, patience))
	}
	s.ping()
	s.check()
	s.mu.Lock()
	for _, l := range s.lanes {
		l.accounted()
		l.dest.withinLimit()
	}
	s.mu.Unlock()
	for _, l := range s.lanes {
		if err := l.box.Check(s.t.Context()); err != nil {
			s.t.Error(err)
		}
	}
	return s.broken()
}

// ping puts into lanes that have nothing to do, and sees the events delivered at once. A lane that is
// still held or paused has no event to probe with: its next event waits as long as an earlier one would.
func (s *simulation) ping() {
	for range 3 {
		if s.pendings() > 0 {
			return // which is reported
		}
		patience := 30 * time.Second
		for _, l := range s.lanes {
			if st := l.box.Stats(); st.Held != "" || !st.PausedUntil.IsZero() {
				patience = max(patience, 2*time.Minute, time.Until(st.PausedUntil)+time.Minute)
			}
			e := l.event()
			e.NotBefore, e.Expires = time.Time{}, time.Time{}
			l.put(l.w, l.box, e)
		}
		time.Sleep(patience)
		if s.pendings() == 0 {
			continue
		}
		for _, l := range s.lanes {
			s.t.Errorf("lane %s: %v after an event was put into an idle lane: %+v", l.name, patience, l.box.Stats())
		}
	}
}

func (s *simulation) pendings() (n int) {
	synctest.Wait()
	for _, l := range s.lanes {
		n += l.box.Stats().Pending
	}
	return n
}

// accounted checks that every event came to its one end. s.mu is held.
func (l *lane) accounted() {
	for _, e := range l.events {
		if e.can&absent != 0 {
			e.can = absent // else it had been handed out
		}
		if e.can&alive != 0 {
			l.s.fault("%v is still %v, and the store holds nothing", e, e.can)
		}
	}
}

// memoryDir returns a directory in memory where there is one: that files survive a power cut is not
// what this is about.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "outbox-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// goroutines returns the stacks of all goroutines of this bubble but the caller's and the one that
// waits for it.
func goroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := strings.Split(string(buf), "\n\n")
	_, bubble, ok := strings.Cut(strings.SplitN(all[0], "\n", 2)[0], "synctest bubble ")
	if !ok {
		return "the goroutines of a bubble cannot be told:\n" + all[0]
	}
	var left []string
	for _, g := range all[1:] {
		head, _, _ := strings.Cut(g, "\n")
		if strings.HasSuffix(head, "synctest bubble "+bubble) && !strings.Contains(g, "synctest.testingSynctestTest") && !strings.Contains(g, "synctest.Run(") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}
