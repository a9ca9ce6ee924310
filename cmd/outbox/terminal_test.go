package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/creack/pty"

	"github.com/seed8107221f/outbox/sender"
)

// A screen is a pseudo terminal with a call of the program.
type screen struct {
	t   *testing.T
	cmd *exec.Cmd
	tty io.ReadWriteCloser

	mu   sync.Mutex
	more *sync.Cond // text grew, or the end came
	text []byte     // what was written and not awaited yet
	all  []byte     // all that was written
	end  bool
}

// onScreen runs the program in a pseudo terminal.
func onScreen(t *testing.T, env []string, args ...string) *screen {
	t.Helper()
	s := &screen{t: t, cmd: program(t, args...)}
	s.more = sync.NewCond(&s.mu)
	s.cmd.Env = append(append(s.cmd.Env, "TERM=xterm-256color"), env...)
	tty, err := pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 40, Cols: 120})
	if err != nil {
		t.Fatal(err)
	}
	s.tty = tty
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		tty.Close()
	})
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b)
			s.mu.Lock()
			s.text, s.all, s.end = append(s.text, b[:n]...), append(s.all, b[:n]...), err != nil
			s.more.Broadcast()
			s.mu.Unlock()
			if err != nil { // the program has ended
				return
			}
		}
	}()
	return s
}

// await waits until the program has written that, and forgets what was before it.
func (s *screen) await(text string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if i := bytes.Index(s.text, []byte(text)); i >= 0 {
			s.text = s.text[i+len(text):]
			return
		}
		if s.end {
			s.t.Fatalf("it ended without %q: %q", text, s.text)
		}
		s.more.Wait()
	}
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, keys); err != nil {
		s.t.Fatal(err)
	}
}

// exit waits for the end of the program.
func (s *screen) exit() int {
	s.cmd.Wait() // its error is the code
	return s.cmd.ProcessState.ExitCode()
}

// On a terminal a final act asks, and only yes is yes.
func TestPrompt(t *testing.T) {
	path := fixture(t)
	s := onScreen(t, nil, "drop", path, "00000001")
	s.await("Drop 1 event for good? [y/N] ")
	want(t, 0, "Lane outbox: every event is accounted for.\n", "check", path) // nobody holds the file meanwhile
	s.press("n\n")
	s.await("nothing was done")
	if code := s.exit(); code != exitUnfinished {
		t.Errorf("no: exit %d", code)
	}
	s = onScreen(t, nil, "drop", path, "--all")
	s.await("Drop 2 dead events? [y/N] ")
	s.press("y\n")
	s.await("2 events were dropped.")
	if code := s.exit(); code != 0 {
		t.Errorf("yes: exit %d", code)
	}
}

// top shows the lanes, one lane, and ends.
func TestTop(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			s := onScreen(t, nil, "top", target)
			s.await("PENDING")
			s.await("> ")
			s.press("\r")
			s.await("scheduled")
			s.await("dropped")
			s.press("h")
			s.await("PENDING")
			s.press("q")
			if code := s.exit(); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}

// Without a terminal top is a usage error; with NO_COLOR it has no colours.
func TestTopElsewhere(t *testing.T) {
	path := fixture(t)
	if _, errs, code := call(t, "top", path); code != exitUsage || !strings.Contains(errs, "terminal") {
		t.Errorf("exit %d: %s", code, errs)
	}
	want(t, 0, "Lane outbox is paused.\n", "pause", path)
	s := onScreen(t, nil, "top", path)
	s.await("\x1b[36m")
	s.press("q")
	s.exit()
	s = onScreen(t, []string{"NO_COLOR=1"}, "top", path)
	s.await("paused")
	s.press("q")
	s.exit()
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Contains(s.all, []byte("\x1b[36m")) {
		t.Errorf("colours: %q", s.all)
	}
}

// What top shows fits on the screen, keeps the chosen lane on it, and tells an outage.
func TestTopText(t *testing.T) {
	cl, err := (&command{}).open(fixture(t))
	if err != nil {
		t.Fatal(err)
	}
	top := &top{ctx: t.Context(), cl: cl}
	seen := top.look()
	if seen.err != nil {
		t.Fatal(seen.err)
	}
	golden(t, "top", still(top.text()))
	top.Update(tea.KeyPressMsg{Code: tea.KeyEnter})
	top.Update(top.look())
	golden(t, "top-lane", still(top.text()))
	top.Update(tea.KeyPressMsg{Code: tea.KeyEscape})
	for range 30 {
		more := seen.overview.Lanes[0]
		more.Name += fmt.Sprint(len(seen.overview.Lanes))
		seen.overview.Lanes = append(seen.overview.Lanes, more)
	}
	top.Update(seen)
	top.Update(tea.WindowSizeMsg{Width: 80, Height: 20})
	for _, key := range []rune{'G', 'k', 'j', 'g', 'j', 'j'} {
		top.Update(tea.KeyPressMsg{Code: key, Text: string(key)})
		if text := top.text(); strings.Count(text, "\n") >= 20 || !strings.Contains(text, "\n> ") || !strings.Contains(text, "LANE") {
			t.Errorf("after %c:\n%s", key, text)
		}
	}
	seen.err = errors.New("no \x1b route")
	top.Update(seen)
	if text := top.text(); !strings.Contains(text, "does not answer: no \\x1b route") || !strings.Contains(text, "> outbox2") {
		t.Errorf("in an outage:\n%s", text)
	}
}

// On 80 columns top shows all of what is wrong, and of the last errors.
func TestTopWraps(t *testing.T) {
	_, at := sending(t, sender.Unavailable(errors.New("httpsend: POST track.example.com/api/v2/batch: 401 Unauthorized: "+strings.Repeat("who are you? ", 8)+"end")), sender.LaneHeld)
	cl, err := (&command{}).open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	top := &top{ctx: t.Context(), cl: cl}
	top.Update(tea.WindowSizeMsg{Width: 80, Height: 40})
	fits := func() {
		t.Helper()
		text := top.text()
		for line := range strings.SplitSeq(text, "\n") {
			if n := utf8.RuneCountInString(line); n > 80 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
		if all := strings.Join(strings.Fields(text), " "); !strings.Contains(all, "who are you? end, since ") || !strings.Contains(all, "; tested again in ") {
			t.Errorf("not all is shown:\n%s", text)
		}
	}
	top.Update(top.look())
	fits()
	top.Update(tea.KeyPressMsg{Code: tea.KeyEnter})
	top.Update(top.look())
	fits()
}

// An import shows how far it is, on a terminal.
func TestProgress(t *testing.T) {
	from, _, _ := call(t, "export", fixture(t))
	in := filepath.Join(t.TempDir(), "events.ndjson")
	write(t, in, from)
	s := onScreen(t, nil, "import", filepath.Join(t.TempDir(), "new.db"), "--create", "--in", in)
	s.await("6 put, 0 there already")
	s.await("6 events were put, 0 were there already.")
	if code := s.exit(); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// Interrupted, a verb says what was done and exits with 7.
func TestInterrupted(t *testing.T) {
	path := fixture(t)
	s := onScreen(t, nil, "drop", path, "--all")
	s.await("[y/N] ")
	s.press("\x03")
	if code := s.exit(); code != exitUnfinished {
		t.Errorf("drop: exit %d", code)
	}
	want(t, 0, "2 of 2 dead events would be dropped.\n", "drop", path, "--all", "--dry-run")

	lines := make([]string, commitEvents+1)
	for n := range lines {
		lines[n] = fmt.Sprintf(`{"id":"%s","payload":""}`, id(n+100))
	}
	cmd := program(t, "import", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, strings.Join(lines, "\n")); err != nil { // the last one has no end yet
		t.Fatal(err)
	}
	for last := id(100 + commitEvents - 1); ; time.Sleep(time.Millisecond) { // until the commit is in the file
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, last[:]) {
			break
		}
	}
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait() // its error is the code
	if code := cmd.ProcessState.ExitCode(); code != exitUnfinished || !strings.HasPrefix(out.String(), "500 events were put") || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("import: exit %d: %s%s", code, out.String(), errs.String())
	}
}
