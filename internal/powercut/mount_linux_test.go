package powercut

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// The campaigns use the mount thoroughly; this is what they take for granted when it fails a program.
func TestMount(t *testing.T) {
	needMount(t)
	dir := t.TempDir()
	d := NewDisk(rand.New(rand.NewPCG(1, 1)))
	unmount, err := Mount(d, dir)
	must(t, err)
	defer func() { must(t, unmount()) }()
	d.Arm(Plan{Fault: Fault{Kind: Sync, At: 2}}, func() {})

	path := filepath.Join(dir, "f")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	_, err = f.Write(old)
	must(t, err, f.Sync())
	_, err = f.WriteAt(next, 0)
	must(t, err)
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second sync was to fail; it returned %v", err)
	}
	must(t, f.Sync(), os.Link(path, path+"2"), os.Remove(path))
	got, err := os.ReadFile(path + "2")
	must(t, err)
	if !bytes.Equal(got, next) {
		t.Error("a program does not see what it wrote")
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "f2" {
		t.Errorf("the directory has %v, want f2 alone", entries)
	}

	must(t, syncDir(dir))
	f2, err := d.Lookup("f2")
	must(t, err)
	d.Crash()
	d.Arm(Plan{}, func() {})
	if now, err := d.Lookup("f2"); err != nil || now == f2 {
		t.Errorf("after the crash the synced name leads to file %d, %v; it was %d", now, err, f2)
	}
	after, err := os.ReadFile(path + "2")
	must(t, err)
	for b := range slices.Chunk(after, sector) {
		if !bytes.Equal(b, old[:sector]) && !bytes.Equal(b, next[:sector]) {
			t.Fatal("a sector is neither old nor new")
		}
	}
	if len(after) != len(old) {
		t.Errorf("the file has %d bytes, want %d", len(after), len(old))
	}
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
