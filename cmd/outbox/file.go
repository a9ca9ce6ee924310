package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/store"
)

// maxPayload is the most that a store takes: whatever the program allows is right here.
const maxPayload = 1 << 30

// missing is the path of a file that does not exist.
type missing string

func (m missing) Error() string { return "there is no file " + string(m) }

func (m missing) Is(err error) bool { return err == fs.ErrNotExist }

// lanes are the open lanes of a file that no program has open.
type lanes struct {
	stores map[string]*store.Store
	close  func() error
}

// openFile opens a file and speaks to a monitor of it in memory. wait is how long to wait for
// another process; negative: not at all. Nothing is sent, since there is no transport.
func (c *command) openFile(path string, wait time.Duration) (*client, error) {
	ls, err := c.openLanes(path, wait)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*client, error) { return nil, errors.Join(err, ls.close()) }
	boxes := make(map[string]*outbox.Outbox)
	for name, s := range ls.stores {
		if boxes[name], err = outbox.New(s, nil, nil); err != nil {
			return fail(err)
		}
	}
	m, err := monitor.New(boxes, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		return monitor.Access{Name: me(), Read: true, Payload: true, Act: true}
	}})
	if err != nil {
		return fail(err)
	}
	return &client{http: &http.Client{Transport: memory{m}}, base: &url.URL{Scheme: "http", Host: "outbox"}, name: path, stopped: true,
		close: func() error {
			errs := []error{m.Close()}
			for _, b := range boxes {
				errs = append(errs, b.Close())
			}
			return errors.Join(append(errs, ls.close())...)
		}}, nil
}

// openLanes opens the lanes of a file, and never makes a file or a lane. A sealed one is opened
// with --seal-key; a lane that is not sealed is never sealed by it.
func (c *command) openLanes(path string, wait time.Duration) (ls lanes, err error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ls, &exitError{exitNotFound, missing(path)}
	} else if err != nil {
		return ls, opening(path, err)
	}
	if err := noDirectory(path); err != nil {
		return ls, err
	}
	o := &store.Options{LockTimeout: wait, MaxPayload: maxPayload}
	open := func() (lanes, error) {
		if c.bucket != "" {
			return openBucket(path, c.bucket, o)
		}
		return openOwn(path, o)
	}
	ls, err = open()
	if errors.Is(err, store.ErrSealed) && len(c.sealKeys) > 0 {
		if o.Sealer, err = sealer(c.sealKeys); err != nil {
			return ls, err
		}
		ls, err = open()
	}
	if errors.Is(err, store.ErrSealed) {
		err = fmt.Errorf("%w; --seal-key id=FILE gives the key", err)
	}
	return ls, opening(path, err)
}

// openOwn opens the lanes of an outbox's own file. The lane "outbox" is in each such file; where
// there are others, and it was never used, it is left out.
func openOwn(path string, o *store.Options) (ls lanes, err error) {
	first, err := store.Open(path, o)
	if err != nil {
		return ls, err
	}
	ls = lanes{stores: map[string]*store.Store{"outbox": first}, close: first.Close}
	names, err := first.Lanes()
	for _, name := range names {
		if err == nil && name != "outbox" {
			ls.stores[name], err = first.Lane(name, o)
		}
	}
	if err != nil {
		return ls, errors.Join(err, first.Close())
	}
	if len(ls.stores) > 1 && first.Counts().Put == 0 {
		delete(ls.stores, "outbox")
	}
	return ls, nil
}

// openBucket opens a lane in an application's own database.
func openBucket(path, bucket string, o *store.Options) (ls lanes, err error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: max(o.LockTimeout, 50*time.Millisecond)})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ls, fmt.Errorf("%s: %w", path, store.ErrLocked)
	}
	if err != nil {
		return ls, err
	}
	is := false
	err = db.View(func(tx *bbolt.Tx) error { is = tx.Bucket([]byte(bucket)) != nil; return nil })
	if err == nil && !is {
		err = fail(exitNotFound, "%s has no bucket %q", path, bucket)
		if lanes := lanesOf(db); len(lanes) > 0 {
			err = fail(exitNotFound, "%w; --bucket gives a lane of it: %s", err, strings.Join(lanes, ", "))
		}
	}
	var s *store.Store
	if err == nil {
		s, err = store.In(db, bucket, o)
	}
	if err != nil {
		return ls, errors.Join(err, db.Close())
	}
	return lanes{map[string]*store.Store{bucket: s}, func() error { return errors.Join(s.Close(), db.Close()) }}, nil
}

// sealer reads keys: 32 bytes each, or as many in hexadecimal. The first one seals.
func sealer(flags []string) (store.Sealer, error) {
	keys := make(map[string][]byte)
	current := ""
	for _, f := range flags {
		id, path, ok := strings.Cut(f, "=")
		if !ok || id == "" {
			return nil, fail(exitUsage, "--seal-key is id=FILE")
		}
		key, err := os.ReadFile(path)
		if err != nil {
			return nil, fail(exitUsage, "--seal-key: %w", err)
		}
		if text, err := hex.DecodeString(string(bytes.TrimSpace(key))); err == nil && len(key) != 32 {
			key = text
		}
		keys[id] = key
		if current == "" {
			current = id
		}
	}
	s, err := store.AESGCM(current, keys)
	if err != nil {
		return nil, fail(exitUsage, "--seal-key: %w", err)
	}
	return s, nil
}

// me is who runs this program, as a pause keeps it.
func me() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}
