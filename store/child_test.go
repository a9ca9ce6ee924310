package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/internal/campaign"
)

// The test binary started with childTask set is another process that has the file at childPath.
const (
	childTask = "OUTBOX_TEST_CHILD"
	childPath = "OUTBOX_TEST_PATH"
)

// children are what such a process can do; each returns when its standard input ends, at the latest.
var children = map[string]func(path string) error{
	"hold":  hold,
	"crash": crashing,
	"once":  sendingOnce,
	"sync":  syncing,
}

func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		if err := children[task](os.Getenv(childPath)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	campaign.Run(m)
}

// A child is another process. Both ends of it are closed, and it has ended, when the test ends.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startChild starts task over the file at path, by way of the command that wrap names.
func startChild(t *testing.T, task, path string, wrap ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrap, exe)
	c := &child{cmd: exec.Command(args[0], args[1:]...)}
	c.cmd.Env = append(os.Environ(), childTask+"="+task, childPath+"="+path)
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.in.Close()
		_ = c.cmd.Wait() // again, if the test has done so
	})
	return c
}

// says waits for the child to print a line.
func (c *child) says(t *testing.T, line string) {
	t.Helper()
	if !c.out.Scan() || c.out.Text() != line {
		t.Fatalf("the child says %q, want %q; %v", c.out.Text(), line, c.out.Err())
	}
}

// end has the child finish.
func (c *child) end(t *testing.T) {
	t.Helper()
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// hold opens the file and keeps it.
func hold(path string) error {
	s, err := Open(path, &prompt)
	if err != nil {
		return err
	}
	fmt.Println("holding")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// syncing opens the file, and does as its input says.
func syncing(path string) error {
	s, err := Open(path, &prompt)
	if err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		for range strings.Count(in.Text(), "one") {
			if err := s.Append(context.Background(), event("a", "")); err != nil {
				return err
			}
		}
		if strings.Contains(in.Text(), "many") {
			if err := appendAtOnce(s, 64); err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return nil // not closed: Close is not what is counted
}
