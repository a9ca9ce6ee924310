package powercut

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	dead map[string]bool // what of must is dead
	tally
}

// A tally counts what has happened.
type tally struct {
	rounds, cuts, kills, fails, full, unmade, acked int
}

func (t *tally) add(o tally) {
	t.rounds += o.rounds
	t.cuts += o.cuts
	t.kills += o.kills
	t.fails += o.fails
	t.full += o.full
	t.unmade += o.unmade
	t.acked += o.acked
}

func (t tally) String() string {
	return fmt.Sprintf("%d rounds: %d power cuts (%d of them before the first file had been made), %d kills, %d failed operations, %d times no room, %d items acknowledged",
		t.rounds, t.cuts, t.unmade, t.kills, t.fails, t.full, t.acked)
}

// live mounts a new disk at dir and lets a store live on it for a number of rounds, and looks at it one
// last time. The error says what the store lost.
func (c campaign) live(dir string, seed uint64, rounds int) (t tally, err error) {
	l := &life{seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), dir: dir, binary: c.binary, seen: c.seen,
		disk: NewDisk(rand.New(rand.NewPCG(seed, 2))), must: make(map[string]bool), may: make(map[string]bool), dead: make(map[string]bool)}
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
	l.disk.Lift()
	if err := l.run(Plan{}, 0); err != nil {
		return l.tally, fmt.Errorf("after %d rounds: %w", l.rounds, err)
	}
	for _, name := range l.disk.Names() {
		if strings.Contains(name, "compacting") {
			return l.tally, fmt.Errorf("after %d rounds there is still %s", l.rounds, name)
		}
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
const patience = 15 * time.Second

// run starts a process on the disk as it is, lets it go as planned, and compares what it found, and
// what it was told, with what it must find.
func (l *life) run(p Plan, steps int) error {
	return l.script("", p, steps, func(word string, _ func(Plan)) string { panic("asked for " + word) })
}

// script is run for a process that does what script says and may ask; answer may arm another plan, and
// the answer stop has it killed at once.
func (l *life) script(script string, p Plan, steps int, answer func(word string, arm func(Plan)) string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l.runs++
	cmd := exec.CommandContext(ctx, l.binary)
	cmd.Env = append(os.Environ(), childDir+"="+l.dir, fmt.Sprintf("%s=%d", childSeed, l.seed<<16+l.runs),
		fmt.Sprintf("%s=%d", childSteps, steps), childScript+"="+script)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says where it is
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err1 := cmd.StdinPipe()
	lines, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	started := make(chan struct{})
	kill := func() {
		<-started
		_ = cmd.Process.Kill() // it has ended if that fails
	}
	full, failed := l.disk.Full(), 0
	arm := func(p Plan) {
		_, n := l.disk.Disarm()
		failed += n
		l.disk.Arm(p, kill)
	}
	l.disk.Arm(p, kill)
	err := cmd.Start()
	close(started)
	if err != nil {
		return err
	}
	halted := false
	for s := bufio.NewScanner(lines); s.Scan(); {
		word, isAsk := strings.CutPrefix(s.Text(), "ask ")
		if !isAsk {
			out.WriteString(s.Text() + "\n")
		} else if say := answer(word, arm); say == stop {
			l.disk.Disarm()
			halted = true
			kill()
		} else {
			_, _ = io.WriteString(in, say+"\n") // it has been killed if that fails
		}
	}
	err = cmd.Wait()
	stopped, n := l.disk.Disarm()
	failed += n
	full = l.disk.Full() - full
	l.stopped = stopped || halted
	l.fails += failed
	l.full += full
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the process hangs:\n%s%s", tail(out.String()), errs.String())
	case err != nil && !stopped && !halted:
		return fmt.Errorf("the process crashed: %w\n%s%s", err, tail(out.String()), errs.String())
	}
	if err := l.read(out.String(), stopped || halted || failed > 0 || full > 0); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(out.String()))
	}
	return nil
}

const stop = "stop"

func tail(s string) string { return s[max(0, len(s)-2000):] }

// read follows what a process said. excused: the disk failed it, so that it may say so.
func (l *life) read(out string, excused bool) error {
	found := make(map[string]string)
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch word {
		case "has", "dead":
			if found[rest] != "" {
				return fmt.Errorf("%s is there twice", rest)
			}
			found[rest] = word
		case "sound":
			if err := l.compare(found); err != nil {
				return err
			}
			clear(found)
		case "append":
			l.may[rest] = true
		case "appended":
			delete(l.may, rest)
			l.must[rest] = true
			l.acked++
		case "refused":
			delete(l.may, rest)
		case "settle":
			delete(l.must, rest)
			l.may[rest] = true
		case "settled":
			delete(l.may, rest)
		case "kept":
			delete(l.may, rest)
			l.must[rest] = true
		case "kill": // it stays, dead or not
		case "killed":
			l.dead[rest] = true
		case "unsound":
			// A disk that fails while the store is opened leaves it unopened, and nothing worse.
			if !excused || !strings.Contains(rest, "the disk failed") && !strings.Contains(rest, syscall.EIO.Error()) {
				return fmt.Errorf("the store is unsound: %s", rest)
			}
		case "broken":
			return fmt.Errorf("broken: %s", rest)
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
func (l *life) compare(found map[string]string) error {
	lost, risen := 0, 0
	for id := range l.must {
		if found[id] == "" {
			lost++
		}
	}
	for id, how := range found {
		if !l.must[id] && !l.may[id] || l.dead[id] && how != "dead" {
			risen++
		}
	}
	if lost > 0 || risen > 0 {
		return fmt.Errorf("of %d acknowledged items %d are lost; of %d found %d should not be there", len(l.must), lost, len(found), risen)
	}
	if l.seen {
		l.forget()
		for id, how := range found {
			l.must[id] = true
			if how == "dead" {
				l.dead[id] = true
			}
		}
	}
	return nil
}

// forget starts the life again, with nothing acknowledged.
func (l *life) forget() {
	clear(l.must)
	clear(l.may)
	clear(l.dead)
}
