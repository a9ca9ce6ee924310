package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func init() {
	children["cannot compact"] = func(path string) error {
		if os.Geteuid() == 0 {
			if err := errors.Join(syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
				return err
			}
		}
		return cannotCompact(path)
	}
	children["is mounted"] = func(path string) error {
		if err := syscall.Mount(path, path, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
		return cannotCompact(path)
	}
}

const nobody = 65534

// cannotCompact uses a file that it cannot replace.
func cannotCompact(path string) error {
	s, err := Open(path, &prompt)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.Append(ctx, event("a", "k"), event("b", "")); err != nil {
		return err
	}
	for want := 1; want >= 0; want-- {
		n, err := s.Erase(ctx, "k")
		if n != want || !errors.Is(err, errors.ErrUnsupported) || strings.Contains(err.Error(), "repeat") {
			return fmt.Errorf("%d erased, %w, want %d and that it is unsupported here", n, err, want)
		}
	}
	if err := s.Compact(ctx); !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("Compact: %w", err)
	}
	return errors.Join(s.Append(ctx, event("c", "")), s.Check(ctx), s.Close())
}

// Where a file cannot be replaced, Compact and Erase say so, and leave it and its directory as they are.
func TestCannotCompactHere(t *testing.T) {
	root := os.Geteuid() == 0
	for _, tt := range []struct {
		name, task string
		wrap       []string
		needRoot   bool
		dir, file  fs.FileMode
		owner      int // of the file, if root runs the test
	}{
		{"directory not writable", "cannot compact", nil, false, 0o555, 0o600, nobody},
		{"another's file", "cannot compact", nil, true, 0o777, 0o666, 1234},
		{"mounted by itself", "is mounted", []string{"unshare", "-m"}, true, 0o755, 0o600, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needRoot && !root {
				t.Skip("only root can set this up")
			}
			for _, program := range tt.wrap {
				if _, err := exec.LookPath(program); err != nil && program[0] != '-' {
					t.Skip(err)
				}
			}
			dir, err := os.MkdirTemp("/tmp", "outbox-here-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Chmod(dir, 0o700); os.RemoveAll(dir) })
			path := filepath.Join(dir, "outbox")
			written(t, path)
			if root {
				if err := os.Chown(path, tt.owner, tt.owner); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Chmod(path, tt.file), os.Chmod(dir, tt.dir)); err != nil {
				t.Fatal(err)
			}
			before := statOf(t, path)
			startChild(t, tt.task, path, tt.wrap...).end(t)
			if !os.SameFile(before, statOf(t, path)) {
				t.Error("the file was replaced")
			}
			if got := entries(t, dir); !slices.Equal(got, []string{"outbox"}) {
				t.Errorf("in the directory: %q", got)
			}
		})
	}
}

// A compacted file keeps the owner and the mode that it was given while it was in use.
func TestCompactKeepsOwnerAndMode(t *testing.T) {
	s := newStore(t, nil)
	owner := os.Geteuid()
	if owner == 0 {
		owner = 1234
		if err := os.Chown(s.Path(), owner, 2345); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o660} {
		if err := os.Chmod(s.Path(), mode); err != nil {
			t.Fatal(err)
		}
		before := statOf(t, s.Path())
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := statOf(t, s.Path())
		was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
		if os.SameFile(before, after) || after.Mode() != before.Mode() || is.Uid != was.Uid || is.Gid != was.Gid || int(is.Uid) != owner {
			t.Errorf("%v of %d:%d, was %v of %d:%d", after.Mode(), is.Uid, is.Gid, before.Mode(), was.Uid, was.Gid)
		}
	}
}
