package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store/internal/format"
)

// entries are the names in a directory.
func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// written makes a store with one item and returns the bytes of its file.
func written(t *testing.T, path string) []byte {
	t.Helper()
	s := openStore(t, path, nil)
	put(t, s, event("a", ""))
	checkedClose(t, s)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refuses opens a path that is no store, and wants an error which names it and leaves everything in
// its directory as it was.
func refuses(t *testing.T, path string, sentinel error, words ...string) {
	t.Helper()
	dir := filepath.Dir(path)
	before, _ := os.ReadDir(dir)
	var content []byte
	info, _ := os.Stat(path)
	regular := info != nil && info.Mode().IsRegular()
	if regular {
		content, _ = os.ReadFile(path)
	}
	for range 2 { // the first must not leave a lock, either
		start := time.Now()
		s, err := Open(path, &Options{LockTimeout: 5 * time.Second})
		if err == nil {
			s.Close()
			t.Fatalf("%s was opened", path)
		}
		if time.Since(start) > 2*time.Second {
			t.Errorf("it took %v", time.Since(start))
		}
		wantError(t, err, sentinel)
		if path != "" && !strings.Contains(err.Error(), path) {
			t.Errorf("error %q does not name %s", err, path)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("error %q does not say %q", err, word)
			}
		}
	}
	if after, _ := os.ReadDir(dir); len(after) != len(before) {
		t.Errorf("in the directory: %v, was %v", after, before)
	}
	if regular {
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, content) {
			t.Errorf("the file was changed: %v", err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }

	t.Run("empty path", func(t *testing.T) {
		if s, err := Open("", nil); err == nil || !strings.Contains(err.Error(), "path is empty") {
			t.Errorf("%v, %v", s, err)
		}
	})
	t.Run("missing directory", func(t *testing.T) { refuses(t, at("missing/outbox"), fs.ErrNotExist) })
	t.Run("directory", func(t *testing.T) {
		if err := os.Mkdir(at("sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		refuses(t, at("sub"), ErrFormat, "it is a directory")
	})
	t.Run("dangling link", func(t *testing.T) {
		if err := os.Symlink(at("nowhere"), at("dangling")); err != nil {
			t.Skip(err)
		}
		refuses(t, at("dangling"), fs.ErrNotExist)
	})
	t.Run("zero length", func(t *testing.T) {
		writeFile(t, at("zero"), nil)
		refuses(t, at("zero"), ErrFormat, "0 bytes")
	})
	t.Run("text", func(t *testing.T) {
		writeFile(t, at("text"), []byte("name: value\n"))
		refuses(t, at("text"), ErrFormat)
		writeFile(t, at("longer text"), bytes.Repeat([]byte("name: value\n"), 10000))
		refuses(t, at("longer text"), ErrFormat)
	})
	t.Run("random bytes", func(t *testing.T) {
		b := make([]byte, 100<<10)
		rand.New(rand.NewSource(1)).Read(b)
		writeFile(t, at("random"), b)
		refuses(t, at("random"), ErrFormat)
	})
	t.Run("zeros", func(t *testing.T) {
		writeFile(t, at("zeros"), make([]byte, 100<<10))
		refuses(t, at("zeros"), ErrFormat)
	})
	t.Run("another database", func(t *testing.T) {
		db := openDB(t, at("other"))
		if err := db.Update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("users"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		db.Close()
		refuses(t, at("other"), ErrFormat, "outbox")
	})
	t.Run("another bucket of our name", func(t *testing.T) {
		db := openDB(t, at("namesake"))
		if err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucket([]byte(format.DefaultLane))
			return errors.Join(err, b.Put([]byte("a"), []byte("b")))
		}); err != nil {
			t.Fatal(err)
		}
		db.Close()
		refuses(t, at("namesake"), ErrFormat, "not a lane")
	})
	t.Run("newer format", func(t *testing.T) {
		written(t, at("newer"))
		db := openDB(t, at("newer"))
		if err := db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte(format.DefaultLane)).Bucket(format.BucketMeta).Put(format.MetaFormat, binary.BigEndian.AppendUint32(nil, 7))
		}); err != nil {
			t.Fatal(err)
		}
		db.Close()
		refuses(t, at("newer"), ErrFormat, "format 7", "up to 2")
	})
	t.Run("newer database", func(t *testing.T) {
		b := written(t, at("newer db"))
		for _, meta := range [...]int{0, os.Getpagesize()} {
			b[meta+16+4]++ // the version, behind the header of the page and the magic number
		}
		writeFile(t, at("newer db"), b)
		refuses(t, at("newer db"), ErrFormat)
	})
	t.Run("first page only", func(t *testing.T) {
		b := written(t, at("half"))
		writeFile(t, at("half"), b[:os.Getpagesize()])
		refuses(t, at("half"), ErrCorrupt)
		writeFile(t, at("half"), b[:100])
		refuses(t, at("half"), ErrCorrupt)
	})
	t.Run("both metas damaged", func(t *testing.T) {
		b := written(t, at("metas"))
		for _, meta := range [...]int{0, os.Getpagesize()} {
			b[meta+40]++
		}
		writeFile(t, at("metas"), b)
		refuses(t, at("metas"), ErrCorrupt)
	})
	t.Run("cut behind the metas", func(t *testing.T) {
		b := written(t, at("cut"))
		writeFile(t, at("cut"), b[:2*os.Getpagesize()])
		refuses(t, at("cut"), ErrCorrupt)
	})
	t.Run("pages damaged", func(t *testing.T) {
		b := written(t, at("pages"))
		for i := 2 * os.Getpagesize(); i < 32*os.Getpagesize() && i < len(b); i++ {
			b[i] = 0xa5
		}
		writeFile(t, at("pages"), b)
		refuses(t, at("pages"), ErrCorrupt)
	})
}

func TestOpenFollowsLinks(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	real, link := filepath.Join(elsewhere, "real"), filepath.Join(dir, "link")
	written(t, real)
	if err := os.Symlink(real, link); err != nil {
		t.Skip(err)
	}
	s := openStore(t, link, nil)
	if c := s.Counts(); c.Ready != 1 {
		t.Errorf("%d items through the link, want 1", c.Ready)
	}
	if want, _ := filepath.EvalSymlinks(real); s.Path() != want {
		t.Errorf("path %s, want %s", s.Path(), want)
	}
	if _, err := Open(real, &prompt); !errors.Is(err, ErrLocked) {
		t.Errorf("the file itself: %v, want ErrLocked", err)
	}
	if got := entries(t, dir); !slices.Equal(got, []string{"link"}) {
		t.Errorf("beside the link: %v", got)
	}
}

func TestCreate(t *testing.T) {
	for _, tt := range []struct{ set, want os.FileMode }{{0, 0o600}, {0o640, 0o640}} {
		t.Run(fmt.Sprintf("mode %o", tt.set), func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, filepath.Join(dir, "outbox"), &Options{Mode: tt.set})
			info, err := os.Stat(s.Path())
			if err != nil || info.Mode().Perm() != tt.want {
				t.Errorf("mode %v, want %v; %v", info.Mode(), tt.want, err)
			}
			if got := entries(t, dir); !slices.Equal(got, []string{"outbox"}) {
				t.Errorf("in the directory: %v", got)
			}
		})
	}
}

func TestCreateClearsOldLeftovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	old, young, other := path+".creating-OLD", path+".creating-YOUNG", path+"-mine"
	for _, p := range []string{old, young, other} {
		writeFile(t, p, []byte("half"))
	}
	hourAgo := time.Now().Add(-time.Hour)
	for _, p := range []string{old, other} {
		if err := os.Chtimes(p, hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, path, nil)
	want := []string{"outbox", "outbox-mine", "outbox.creating-YOUNG"}
	if got := entries(t, filepath.Dir(path)); !slices.Equal(got, want) {
		t.Errorf("in the directory: %q, want %q", got, want)
	}
}

func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	for range campaign.Pick(5, 5, 2) {
		path := filepath.Join(t.TempDir(), "outbox")
		var wg sync.WaitGroup
		var mu sync.Mutex
		opened := 0
		for range 8 {
			wg.Go(func() {
				// One at a time has it; who waits finds the same file.
				s, err := Open(path, &Options{LockTimeout: 10 * time.Second})
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(s.Append(t.Context(), event("a", "")), s.Check(context.Background()), s.Close()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				opened++
			})
		}
		wg.Wait()
		if s := openStore(t, path, nil); s.Counts().Ready != opened || opened != 8 {
			t.Errorf("%d opened it, which holds %d items; want 8", opened, s.Counts().Ready)
		}
		if got := entries(t, filepath.Dir(path)); !slices.Equal(got, []string{"outbox"}) {
			t.Errorf("in the directory: %v", got)
		}
	}
}

func TestCreateAtOnceWithoutWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []*Store
	for range 8 {
		wg.Go(func() {
			s, err := Open(path, &prompt)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, s)
			} else {
				wantError(t, err, ErrLocked)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d have it, want one", len(won))
	}
	checkAtEnd(t, won[0])
}

// A name as long as the file system allows can be created and compacted. Files whose long names begin alike
// leave each other's unfinished files alone.
func TestLongNames(t *testing.T) {
	mayCompact(t)
	dir := t.TempDir()
	for _, n := range []int{216, 217, 218, 219, 220, 255} {
		s, err := Open(filepath.Join(dir, strings.Repeat("x", n)), &prompt)
		if err != nil {
			t.Fatal(err)
		}
		checkAtEnd(t, s)
		put(t, s, event("a", ""))
		if err := s.Compact(t.Context()); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if got := entries(t, dir); len(got) != 6 {
		t.Errorf("in the directory: %q", got)
	}
}

// A path that names a directory is refused, and no file with the rest of its name is made.
func TestOpenRefusesATrailingSeparator(t *testing.T) {
	dir := t.TempDir()
	refuses(t, filepath.Join(dir, "new")+string(filepath.Separator), ErrFormat, "directory")
	written(t, filepath.Join(dir, "old"))
	refuses(t, filepath.Join(dir, "old")+string(filepath.Separator), ErrFormat, "directory")
	if got := entries(t, dir); !slices.Equal(got, []string{"old"}) {
		t.Errorf("in the directory: %q", got)
	}
}
