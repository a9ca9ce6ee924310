package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/store"
)

// noDirectory refuses a path that is a directory.
func noDirectory(path string) error {
	if at, err := os.Stat(path); err == nil && at.IsDir() {
		return fail(exitUsage, "%s is a directory", path)
	}
	return nil
}

// opening says what to do about a file that does not open.
func opening(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fail(exitNotAllowed, "%w; run this as the user who may write the file, most likely that of the program", err)
	case errors.Is(err, store.ErrCorrupt):
		return fmt.Errorf("%w; outbox salvage %s copies what can be read into a fresh file, and keeps this one", err, path)
	case errors.Is(err, store.ErrFormat):
		if lanes := lanesIn(path); len(lanes) > 0 {
			return fail(exitUsage, "%w; --bucket gives a lane of it: %s", err, strings.Join(lanes, ", "))
		}
	}
	return err
}

// lanesIn names the buckets of a database that look like lanes. It is for a message: what cannot be
// read has none.
func lanesIn(path string) (names []string) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 50 * time.Millisecond})
	if err != nil {
		return nil
	}
	defer db.Close() // its error: it was read
	return lanesOf(db)
}

func lanesOf(db *bbolt.DB) (names []string) {
	db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if b.Bucket([]byte("meta")) != nil && b.Bucket([]byte("ready")) != nil {
				names = append(names, visible(string(name)))
			}
			return nil
		})
	})
	return names
}
