package powercut

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

var (
	rounds = flag.Int("rounds", 0, "rounds of each campaign; 0: enough for every day")
	seed   = flag.Uint64("seed", 0, "seed of the first life of each campaign, the next has the next; 0: drawn")
)

// A process with private set has a mount namespace of its own, so that no mount outlives the tests,
// however they end.
const private = "OUTBOX_POWERCUT_PRIVATE"

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		runChild()
		return
	}
	flag.Parse()
	if os.Getenv(private) != "" || obstacle() != nil {
		os.Exit(m.Run())
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil {
		os.Exit(1)
	}
}

// obstacle says why nothing can be mounted here.
func obstacle() error {
	if os.Geteuid() != 0 {
		return errors.New("mounting needs root")
	}
	_, err := os.Stat("/dev/fuse")
	return err
}

// needMount skips a test where nothing can be mounted; with OUTBOX_POWERCUT=1 that is a failure.
func needMount(t *testing.T) {
	t.Helper()
	err := obstacle()
	if err != nil && os.Getenv("OUTBOX_POWERCUT") == "1" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
}

// Accidents. Each is one round, and ends with a power cut.

// powerCut takes the power at any moment of a process's life, one time in ten while it still opens
// the store.
func powerCut(l *life) error {
	stop := 1 + l.rng.IntN(200)
	if l.rng.IntN(10) == 0 {
		stop = 1 + l.rng.IntN(4)
	}
	err := l.run(Plan{Stop: stop}, 30)
	l.cut()
	return err
}

// killAndCut kills a process, half the time as it syncs; the next one goes on with what the first left
// in the cache, and soon the power goes.
func killAndCut(l *life) error {
	p := Plan{Stop: 1 + l.rng.IntN(60)}
	if l.rng.IntN(2) == 0 {
		p = Plan{Stop: 1 + l.rng.IntN(20), AtSync: true}
	}
	if err := l.run(p, 30); err != nil {
		return err
	}
	l.kill()
	err := l.run(Plan{Stop: 1 + l.rng.IntN(24)}, 30)
	l.cut()
	return err
}

// creation takes the power as the first process makes the file, or kills it or fails its syncs first.
func creation(l *life) error {
	noLinks := l.rng.IntN(4) == 0
	first := Plan{Stop: 1 + l.rng.IntN(36), NoLinks: noLinks}
	another := false
	switch l.rng.IntN(4) {
	case 0:
		another = true
	case 1:
		first.Fault, first.Stop = Fault{Kind: Sync, At: 1 + l.rng.IntN(8)}, 1+l.rng.IntN(16)
		another = l.rng.IntN(2) == 0
	}
	err := l.run(first, 4)
	if err == nil && another {
		l.kill()
		err = l.run(Plan{Stop: 1 + l.rng.IntN(36), NoLinks: noLinks}, 4)
	}
	l.cut()
	return err
}

// failedSync fails a sync, now and then the next ones too; soon after, the power goes, with another
// process or the same.
func failedSync(l *life) error {
	p := Plan{Fault: Fault{Kind: Sync, At: 1 + l.rng.IntN(20)}, Stop: 1 + l.rng.IntN(16)}
	if l.rng.IntN(5) == 0 {
		p.Fault.Times = 2 + l.rng.IntN(2)
	}
	if err := l.run(p, 30); err != nil {
		return err
	}
	if l.rng.IntN(2) == 0 {
		l.kill()
		if err := l.run(Plan{Stop: 1 + l.rng.IntN(24)}, 30); err != nil {
			return err
		}
	}
	l.cut()
	return nil
}

// So many lives go on at the same time: a life mostly waits for its process, and some processes for the
// second to pass after which the store heals again.
const (
	working = 6
	waiting = 16
)

// A campaign has accidents happen in lives of so many rounds each.
type campaign struct {
	binary   string // of the process that uses the store
	accident func(*life) error
	each     int
	seen     bool // see life
	lives    int  // at the same time
}

// run goes on until that many rounds are over or a store has lost something, which the error says.
func (c campaign) run(t *testing.T, rounds int) (tally, error) {
	t.Helper()
	next := cmp.Or(*seed, rand.Uint64()>>32)
	t.Logf("the first seed is %d", next)
	var mu sync.Mutex // guards next, rounds, sum and found
	var sum tally
	var found error
	var wg sync.WaitGroup
	for range c.lives {
		dir := t.TempDir()
		wg.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for rounds > 0 && found == nil {
				seed, n := next, min(c.each, rounds)
				next++
				rounds -= n
				mu.Unlock()
				got, err := c.live(dir, seed, n)
				mu.Lock()
				sum.add(got)
				if err != nil && found == nil {
					found = fmt.Errorf("again with -seed %d -rounds %d: %w", seed, c.each, err)
				}
			}
		})
	}
	wg.Wait()
	return sum, found
}

// prove runs a campaign that must find nothing.
func prove(t *testing.T, accident func(*life) error, lives, everyDay, each int, enough func(tally) bool) {
	t.Helper()
	needMount(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := campaign{binary: exe, accident: accident, each: each, seen: true, lives: lives}
	sum, err := c.run(t, cmp.Or(*rounds, everyDay))
	t.Log(sum)
	if err != nil {
		t.Error(err)
	} else if *rounds == 0 && !enough(sum) {
		t.Error("these were fewer accidents than this test is for")
	}
}

func TestCuts(t *testing.T) {
	prove(t, powerCut, working, 300, 20, func(s tally) bool { return s.cuts >= 300 })
}

func TestKillAndCut(t *testing.T) {
	prove(t, killAndCut, working, 320, 20, func(s tally) bool { return s.cuts >= 300 && s.kills >= 300 })
}

func TestCreation(t *testing.T) {
	prove(t, creation, working, 200, 1, func(s tally) bool { return s.cuts >= 100 && s.unmade > 0 && s.unmade < s.cuts })
}

func TestFailedSync(t *testing.T) {
	prove(t, failedSync, working, 150, 20, func(s tally) bool { return s.fails >= 100 && s.cuts >= 100 })
}

func TestIOErrors(t *testing.T) {
	prove(t, failing, waiting, len(trials), 1, func(s tally) bool { return s.fails >= 200 && s.cuts >= 50 })
}

func TestFullDisk(t *testing.T) {
	prove(t, fullDisk, working, 12, 2, func(s tally) bool { return s.full >= 12 && s.cuts+s.kills >= 3 })
}

func TestCompaction(t *testing.T) {
	prove(t, compacting, working, len(compactions), 1, func(s tally) bool { return s.cuts >= 100 && s.kills >= 20 })
}

// With one fix disabled, or with no sync at all, the loss must be found: otherwise the other tests prove
// nothing.
func TestWithoutFix(t *testing.T) {
	for _, c := range []struct {
		fix      string
		accident func(*life) error
		each     int
	}{
		{"sync", powerCut, 20},
		{"creation", creation, 1},
		{"dirsync", creation, 1},
		{"metas", failedSync, 20},
		{"heal", failedSync, 20},
		{"compactsync", compactingCut, 1},
		{"dirsync", compactingCut, 1}, // now it is the rename that is lost
		{"reserve", fullThick, 1},
	} {
		t.Run(c.fix, func(t *testing.T) {
			needMount(t)
			binary := filepath.Join(t.TempDir(), "withoutfix")
			build := exec.Command("go", "test", "-c", "-o", binary, "-ldflags", "-X github.com/seed8107221f/outbox/store/internal/boltfile.withoutFix="+c.fix, ".")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			u := campaign{binary: binary, accident: c.accident, each: c.each, lives: working}
			sum, err := u.run(t, cmp.Or(*rounds, 2000))
			if err == nil {
				t.Fatalf("nothing was lost without %s: %v", c.fix, sum)
			}
			t.Logf("found after %v: %v", sum, err)
		})
	}
}
