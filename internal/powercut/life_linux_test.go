package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A life is one store on one disk, from nothing, through many accidents.
type life struct {
	seed   uint64
	rng    *rand.Rand // draws the accidents
	disk   *Disk
	dir    string // where the disk is mounted
	binary string // of the process that uses the store
	runs   uint64 // processes so far

	stopped bool // the last process was, before it had ended by itself

	// seen counts what a process saw as acknowledged, since opening puts that on disk. Off, only
	// acknowledgements count.
	seen bool
	must map[string]bool // what the store has acknowledged and was not told to forget
	may  map[string]bool // what it may have or not: appended or settled, and not acknowledged
	tally
}

// A tally counts what has happened.
type tally struct {
	rounds, cuts, kills, fails, unmade, acked int
}

func (t *tally) add(o tally) {
	t.rounds += o.rounds
	t.cuts += o.cuts
	t.kills += o.kills
	t.fails += o.fails
	t.unmade += o.unmade
	t.acked += o.acked
}

func (t tally) String() string {
	return fmt.Sprintf("%d rounds: %d power cuts (%d of them before the first file had been made), %d kills, %d failed syncs, %d items acknowledged",
		t.rounds, t.cuts, t.unmade, t.kills, t.fails, t.acked)
}

// live mounts a new disk at dir and lets a store live on it for a number of rounds, and looks at it one
// last time. The error says what the store lost.
func (c campaign) live(dir string, seed uint64, rounds int) (t tally, err error) {
	l := &life{seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), dir: dir, binary: c.binary, seen: c.seen,
		disk: NewDisk(rand.New(rand.NewPCG(seed, 2))), must: make(map[string]bool), may: make(map[string]bool)}
	unmount, err := Mount(l.disk, dir)
	if err != nil {
		return l.tally, err
	}
	defer func() {
		t, err = l.tally, errors.Join(err, unmount())
	}()
	for range rounds {
		if err := c.accident(l); err != nil {
			return l.tally, fmt.Errorf("round %d: %w", l.rounds, err)
		}
		l.rounds++
	}
	if err := l.run(Plan{}, 0); err != nil {
		return l.tally, fmt.Errorf("after %d rounds: %w", l.rounds, err)
	}
	return l.tally, nil
}

// kill counts a process whose cache the next one goes on with, if it did not end by itself.
func (l *life) kill() {
	if l.stopped {
		l.kills++
	}
}

// cut takes the power.
func (l *life) cut() {
	if _, err := l.disk.Lookup("outbox"); err != nil {
		l.unmade++
	}
	l.disk.Crash()
	l.cuts++
}

// patience is how long a process may take that should need a fraction of a second.
const patience = 30 * time.Second

// run starts a process on the disk as it is, lets it go as planned, and compares what it found, and
// what it was told, with what it must find.
func (l *life) run(p Plan, steps int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.runs++
	cmd := exec.CommandContext(ctx, l.binary)
	cmd.Env = append(os.Environ(), childDir+"="+l.dir, fmt.Sprintf("%s=%d", childSeed, l.seed<<16+l.runs), fmt.Sprintf("%s=%d", childSteps, steps))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	started := make(chan struct{})
	l.disk.Arm(p, func() {
		<-started
		_ = cmd.Process.Kill() // it has ended if that fails
	})
	err := cmd.Start()
	close(started)
	if err == nil {
		err = cmd.Wait()
	}
	stopped, failed := l.disk.Disarm()
	l.stopped = stopped
	l.fails += failed
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the process hangs:\n%s", tail(out.String()))
	case err != nil && !stopped:
		return fmt.Errorf("the process crashed: %w\n%s%s", err, tail(out.String()), errs.String())
	}
	return l.read(out.String(), stopped || failed > 0)
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

// read follows what a process said. excused: the disk failed it, so that it may say so.
func (l *life) read(out string, excused bool) error {
	found := make(map[string]bool)
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "has":
			if found[rest] {
				return fmt.Errorf("%s is there twice", rest)
			}
			found[rest] = true
		case "sound":
			if err := l.compare(found); err != nil {
				return err
			}
		case "append":
			l.may[rest] = true
		case "appended":
			delete(l.may, rest)
			l.must[rest] = true
			l.acked++
		case "settle":
			delete(l.must, rest)
			l.may[rest] = true
		case "settled":
			delete(l.may, rest)
		case "unsound":
			// A sync that fails while the store is opened leaves it unopened, and nothing worse.
			if !excused || !strings.Contains(rest, "the disk failed") && !strings.Contains(rest, syscall.EIO.Error()) {
				return fmt.Errorf("the store is unsound: %s", rest)
			}
		case "error":
			if !excused {
				return fmt.Errorf("the disk is well, and yet: %s", rest)
			}
		default:
			return fmt.Errorf("the process said %q", line)
		}
	}
	return nil
}

// compare says what is missing and what should not be there.
func (l *life) compare(found map[string]bool) error {
	lost, risen := 0, 0
	for id := range l.must {
		if !found[id] {
			lost++
		}
	}
	for id := range found {
		if !l.must[id] && !l.may[id] {
			risen++
		}
	}
	if lost > 0 || risen > 0 {
		return fmt.Errorf("of %d acknowledged items %d are lost; of %d found %d should not be there", len(l.must), lost, len(found), risen)
	}
	if l.seen {
		l.must, l.may = found, make(map[string]bool)
	}
	return nil
}
