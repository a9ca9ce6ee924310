package boltfile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// create makes a file at path with what init writes, unless another process makes one first,
// and reports whether it did. It
// makes the file under another name, syncs it, and then gives it its name, because a power cut
// during bbolt's very first writes leaves a file that never opens again.
//
// A crash before the file has its name leaves a leftover, which a later Open removes. A crash after
// it leaves a complete file, or none if the directory was not synced yet; Open has not returned
// then.
func create(path string, mode os.FileMode, init func(*bolt.Tx) error) (made bool, err error) {
	RemoveLeftovers(tempPrefix(path, creating), time.Minute)
	if withoutFix == "creation" {
		return true, Make(path, mode, init)
	}
	tmp := tempPrefix(path, creating) + rand.Text()
	defer os.Remove(tmp)
	if err := Make(tmp, mode, init); err != nil {
		return false, err
	}
	// Unlike a rename, a link never replaces a file that another process has made since.
	switch err := os.Link(tmp, path); {
	case err == nil:
	case errors.Is(err, fs.ErrExist):
		return false, nil // the file of the other process is as good
	default: // this file system has no links
		if err := os.Rename(tmp, path); err != nil {
			return false, err
		}
	}
	return true, SyncDir(filepath.Dir(path))
}

// Make makes a database at path with what init writes, closes it, and syncs the file but not its
// name. It leaves the file there after an error.
func Make(path string, mode os.FileMode, init func(*bolt.Tx) error) error {
	db, err := bolt.Open(path, mode, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(init)
	return errors.Join(err, db.Close(), SyncFile(path))
}

// The name of a file that is not complete is tempPrefix of the path and one of these, and a random
// text.
const (
	creating   = ".creating-"
	compacting = ".compacting-"

	longestName = 255 // bytes of a name, on most file systems
	randomLen   = 26  // bytes of rand.Text
)

// tempPrefix returns the path and kind. A name that would be too long with the random text is
// replaced by a hash of it, because the leftovers of one file must not be taken for those of
// another.
func tempPrefix(path, kind string) string {
	dir, name := filepath.Split(path)
	if len(name)+len(kind)+randomLen > longestName {
		sum := sha256.Sum256([]byte(name))
		name = ".outbox-" + hex.EncodeToString(sum[:16])
	}
	return dir + name + kind
}

// RemoveLeftovers removes the files whose paths begin with prefix and that were not changed for
// age: files that a killed process did not complete. Another process may still work on a younger
// one. It ignores errors, since a leftover only takes room.
func RemoveLeftovers(prefix string, age time.Duration) {
	dir, name := filepath.Split(prefix)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
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

// SyncFile syncs the file at path.
func SyncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// SyncDir syncs a directory, so that the names in it survive a power cut. It does nothing on
// Windows.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" || withoutFix == "dirsync" {
		return nil // Windows cannot sync directories, and its names need no sync
	}
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkDir returns an error if SyncDir could not sync the directory, before there is a file in it
// that has to be synced.
func checkDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	return d.Close()
}

// openDir opens a directory to sync it.
func openDir(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("the directory must be readable, since its names have to be synced: %w", err)
	}
	return d, err
}
