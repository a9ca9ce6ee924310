package outbox_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

var (
	modelSeed  = flag.Uint64("seed", 0, "run the model with this seed alone; 0: with many")
	modelRuns  = flag.Int("runs", 0, "run the model with so many seeds; 0: 200, fewer with -short or -race")
	modelSteps = flag.Int("steps", 500, "steps of each run of the model")
)

// TestModel does at random whatever an application, a destination and a kill can do, over the real
// store, sender and limiter, and compares with a model that only knows what was promised. A seed that
// fails fails again with -seed, but for the jitter of the lane and the order of goroutines.
func TestModel(t *testing.T) {
	if *modelSeed != 0 {
		runModel(t, *modelSeed)
		return
	}
	runs := *modelRuns
	switch {
	case runs > 0:
	case raceDetector || testing.Short():
		runs = 20
	default:
		runs = 200
	}
	for seed := range runs {
		t.Run(fmt.Sprint("seed=", seed+1), func(t *testing.T) {
			t.Parallel()
			runModel(t, uint64(seed+1))
		})
	}
}

// The fates of an event.
const (
	pending   = "pending"
	delivered = "delivered"
	dead      = "dead"
	expired   = "expired"
	dropped   = "dropped" // by the test; what the sender says about it later does not count
)

// modelEvent is an event as the model knows it.
type modelEvent struct {
	id      uuid.UUID
	key     string
	n       int  // its number, in the order of Put
	free    bool // it has no place in the order of its key: it was scheduled, or revived
	expires time.Time
	fate    string
}

// model is one run.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	o     outbox.Options
	batch bool
	dir   string
	files int

	path string
	dest *moody
	p    *process
	b    *outbox.Outbox

	mu     sync.Mutex // guards what follows
	events map[string]*modelEvent
	n      int
}

func runModel(t *testing.T, seed uint64) {
	dir := memoryDir(t)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		m := &model{t: t, rng: rng, dir: dir, batch: rng.IntN(2) == 0, events: make(map[string]*modelEvent)}
		m.dest = &moody{seed: seed, mood: "ok", nth: make(map[string]int), busy: make(map[string]int), ids: make(map[string]uuid.UUID), accepted: make(map[string]int)}
		if rng.IntN(2) == 0 {
			m.dest.limit = 20
		}
		if rng.IntN(2) == 0 {
			m.o.Store.MaxPending = 5 + rng.IntN(30)
			m.o.Store.Block = rng.IntN(2) == 0
		}
		m.o.Store.Gather = []time.Duration{0, -1, time.Second}[rng.IntN(3)]
		m.o.Sender.Concurrency = 1 + rng.IntN(6)
		m.o.Sender.Timeout = 2 * time.Second
		m.o.Sender.MaxAttempts = []int{1, 3, 0, -1}[rng.IntN(4)]
		m.o.Sender.Backoff = func(attempt int) time.Duration {
			return min(time.Duration(attempt*attempt)*100*time.Millisecond, 30*time.Second)
		}
		m.open(m.newPath())
		defer func() {
			m.close(func() error { return m.b.Close() }, 6*time.Second)
			sound(t, m.path)
			time.Sleep(10 * time.Second) // for the calls that ignore their context
			if t.Failed() {
				t.Logf("again: go test -run TestModel -seed %d -steps %d", seed, *modelSteps)
			}
		}()
		for range *modelSteps {
			m.step()
			m.addsUp()
			if t.Failed() || m.faults() {
				return
			}
		}
		m.drain()
	})
}

// addsUp checks the ledger. What was dropped while it was in flight, or in line, is counted there until
// it is met again.
func (m *model) addsUp() {
	s := m.b.Stats()
	if sum := uint64(s.Pending+s.Dead) + s.Delivered + s.Expired + s.Dropped; sum != s.Put {
		m.t.Errorf("put %d, accounted for %d: %+v", s.Put, sum, s)
	}
	if more := s.Ready + s.Scheduled + s.Retrying + s.InLine + s.InFlight - s.Pending; more < 0 || uint64(more) > s.Dropped {
		m.t.Errorf("pending %d, its parts come to %d more: %+v", s.Pending, more, s)
	}
}

// memoryDir returns a directory in memory where there is one: that files survive a power cut is not
// what this is about.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "outbox-model-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (m *model) newPath() string {
	m.files++
	return filepath.Join(m.dir, fmt.Sprint(m.files, ".db"))
}

func (m *model) open(path string) {
	p := &process{moody: m.dest, flying: make(map[*plan]bool)}
	o := m.o
	if m.dest.limit > 0 {
		o.Limiter = limiter.Within(m.dest.limit, time.Second)
	}
	o.Sender.OnOutcome = func(oc sender.Outcome, _ time.Duration) { m.settled(p, oc) }
	var tr sender.Transport = p
	if m.batch {
		tr = batching{p}
	}
	b, err := outbox.Open(path, tr, &o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.path, m.p, m.b = path, p, b
	if err := b.Check(m.t.Context()); err != nil {
		m.t.Error(err)
	}
}

// settled notes what became of an event, as recorded.
func (m *model) settled(p *process, o sender.Outcome) {
	p.mu.Lock()
	over := p.ended
	p.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.events[string(o.Item.Payload)]
	switch {
	case over || e == nil || e.fate == dropped:
	case o.Verdict == sender.Delivered:
		e.fate = delivered
	case o.Verdict == sender.Dead:
		e.fate = dead
	case o.Verdict == sender.Expired:
		e.fate = expired
	}
}

// drain ends all faults and sees whether everything comes to its end.
func (m *model) drain() {
	m.dest.mu.Lock()
	m.dest.mood, m.dest.healed = "ok", true
	m.dest.mu.Unlock()
	began := time.Now()
	for m.b.Stats().Pending > 0 {
		time.Sleep(time.Second)
		if time.Since(began) > 15*time.Minute {
			m.t.Errorf("15 minutes after the last fault events are still pending: %+v", m.b.Stats())
			break
		}
	}
	synctest.Wait()
	if !m.faults() {
		m.compare()
	}
}

func (m *model) faults() bool {
	m.dest.mu.Lock()
	defer m.dest.mu.Unlock()
	for _, f := range m.dest.faults {
		m.t.Error(f)
	}
	return len(m.dest.faults) > 0
}

// compare checks that every event came to the end that was promised, and that the ledger says so.
func (m *model) compare() {
	m.mu.Lock()
	defer m.mu.Unlock()
	reasons := make(map[string]string)
	for it, err := range m.b.Dead() {
		if err != nil {
			m.t.Error(err)
		}
		reasons[string(it.Payload)] = it.LastErr
	}
	counts := make(map[string]int)
	for name, e := range m.events {
		counts[e.fate]++
		switch {
		case e.fate == delivered && m.dest.accepted[name] == 0:
			m.t.Errorf("event %s counts as delivered, and the destination never accepted it", name)
		case e.fate == dead && reasons[name] == "":
			m.t.Errorf("event %s is dead, and not listed with a reason", name)
		case e.fate == expired && (e.expires.IsZero() || time.Now().Before(e.expires)):
			m.t.Errorf("event %s was counted as expired before its end, %v", name, e.expires)
		}
		if id, sent := m.dest.ids[name]; sent && id != e.id {
			m.t.Errorf("event %s arrived as %v, Put returned %v", name, id, e.id)
		}
	}
	s := m.b.Stats()
	if int(s.Put) != len(m.events) || int(s.Delivered) != counts[delivered] || s.Dead != counts[dead] ||
		int(s.Expired) != counts[expired] || int(s.Dropped) != counts[dropped] || len(reasons) != counts[dead] {
		m.t.Errorf("the ledger says %+v, the model %d: %v", s, len(m.events), counts)
	}
	last := make(map[string]int)
	for _, name := range m.dest.firsts {
		e := m.events[name]
		if e == nil {
			m.t.Errorf("event %s arrived, and its Put had failed", name)
			continue
		}
		if e.key == "" || e.free {
			continue
		}
		if e.n < last[e.key] {
			m.t.Errorf("key %q: event %d arrived after event %d", e.key, e.n, last[e.key])
		}
		last[e.key] = max(last[e.key], e.n)
	}
	if m.o.Sender.MaxAttempts != 1 && !slices.ContainsFunc(m.dest.firsts, func(name string) bool { return m.dest.nth[name] > 1 }) {
		m.t.Error("no event needed a second request: the run proves little")
	}
}
