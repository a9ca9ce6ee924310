package store

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// create makes a complete file under another name and gives it its own only when it is on disk: a
// power cut in bbolt's very first writes leaves a file that never opens again.
func create(path string, lane []byte, mode os.FileMode) error {
	removeLeftovers(path+creating, time.Minute)
	if uncured == "creation" {
		return makeFile(path, lane, mode)
	}
	tmp := path + creating + rand.Text()
	defer os.Remove(tmp)
	if err := makeFile(tmp, lane, mode); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what another process has made meanwhile.
	switch err := os.Link(tmp, path); {
	case err == nil:
	case errors.Is(err, fs.ErrExist):
		return nil // theirs is as good
	default: // a file system without links
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// makeFile makes a database with an empty lane, and syncs it but not its name.
func makeFile(path string, lane []byte, mode os.FileMode) error {
	db, err := bolt.Open(path, mode, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return format.Create(tx, lane) })
	return errors.Join(err, db.Close(), syncFile(path))
}

// What follows the path in the names of files that are not complete.
const (
	creating   = ".creating-"
	compacting = ".compacting-"
)

// removeLeftovers clears away what a killed process left half done; what is younger than age may be alive.
func removeLeftovers(prefix string, age time.Duration) {
	dir, name := filepath.Split(prefix)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // they harm nobody
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) >= age {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" || uncured == "dirsync" {
		return nil // directories cannot be synced on Windows, and names need not be
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
