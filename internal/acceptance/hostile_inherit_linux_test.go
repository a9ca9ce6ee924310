package acceptance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/store"
)

func init() {
	tasks["exec"], tasks["leak"], tasks["leak and close"] = execs, leaks, leaksAndCloses
}

// descriptors of a process that lead to a file.
func descriptors(pid, path string) (fds []int) {
	links, _ := filepath.Glob("/proc/" + pid + "/fd/*")
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && to == path {
			n, _ := strconv.Atoi(filepath.Base(l))
			fds = append(fds, n)
		}
	}
	return fds
}

// child starts a process that outlives its parent, with these descriptors of it, and prints its
// number.
func child(files ...*os.File) error {
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = files
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("child", cmd.Process.Pid)
	return nil
}

// execs has an outbox and starts a process as everybody does.
func execs(path string) error {
	if _, err := outbox.Open(path, nil, nil); err != nil {
		return err
	}
	if err := child(); err != nil {
		return err
	}
	select {}
}

// leak opens an outbox and starts a process with its descriptor, as a fork by hand does.
func leak(path string) (*outbox.Outbox, error) {
	b, err := outbox.Open(path, nil, nil)
	if err != nil {
		return nil, err
	}
	for _, fd := range descriptors("self", path) {
		copied, err := syscall.Dup(fd) // it and the child share what the lock belongs to
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(copied), path)
		defer f.Close()
		if err := child(f); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func leaks(path string) error {
	if _, err := leak(path); err != nil {
		return err
	}
	select {}
}

func leaksAndCloses(path string) error {
	b, err := leak(path)
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	fmt.Println("closed")
	select {}
}

// TestInheritedDescriptor is the table of processes that outlive the one that has the outbox. Go
// closes its descriptors on exec, so that they do not keep the lock; one that was made to inherit
// the descriptor, by a fork without exec or by name, keeps it, unless the outbox was closed.
func TestInheritedDescriptor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		task      string
		inherited bool
		locked    bool
	}{
		{"exec", false, false},
		{"leak", true, true},
		{"leak and close", true, false},
	} {
		t.Run(row.task, func(t *testing.T) {
			path, err := filepath.EvalSymlinks(filepath.Dir(newPath(t)))
			if err != nil {
				t.Fatal(err)
			}
			path = filepath.Join(path, "outbox.db")
			cmd, out, _ := another(t, row.task, path, "")
			if !out.Scan() {
				t.Fatal("nothing is said")
			}
			pid, found := strings.CutPrefix(out.Text(), "child ")
			if !found {
				t.Fatal(out.Text())
			}
			if row.task == "leak and close" && (!out.Scan() || out.Text() != "closed") {
				t.Fatal(out.Text())
			}
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			grandchild, err := os.FindProcess(n)
			if err != nil {
				t.Fatal(err)
			}
			defer grandchild.Kill()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := len(descriptors(pid, path)) > 0; got != row.inherited {
				t.Fatalf("the child has the descriptor: %t, want %t", got, row.inherited)
			}
			s, err := store.Open(path, &store.Options{LockTimeout: -1})
			if err == nil {
				err = s.Close()
			}
			if !row.locked && err != nil || row.locked && !errors.Is(err, store.ErrLocked) {
				t.Errorf("while the child lives: %v; locked expected: %t", err, row.locked)
			}
			if err := grandchild.Kill(); err != nil {
				t.Fatal(err)
			}
			if s, err = store.Open(path, nil); err != nil {
				t.Fatalf("when all have ended: %v", err)
			}
			if err := errors.Join(s.Check(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
