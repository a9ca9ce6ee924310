package boltfile_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/boltfile"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

func TestMain(m *testing.M) { campaign.Run(m) }

// prompt settles at once, and waits for no lock.
var prompt = store.Options{Gather: -1, LockTimeout: -1}

func openStore(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	storetest.CheckAtEnd(t, s)
	return s
}

// words is a lane that keeps words in a bucket.
type words struct {
	bucket    []byte
	reloads   int
	committed []string
}

func (w *words) Apply(tx *bolt.Tx, group []*boltfile.Write) error {
	b, err := tx.CreateBucketIfNotExists(w.bucket)
	for _, g := range group {
		if word, ok := g.Change.(string); ok && err == nil {
			err = b.Put([]byte(word), []byte("kept"))
		}
	}
	return err
}

func (w *words) Committed(_ uint64, group []*boltfile.Write) {
	for _, g := range group {
		if word, ok := g.Change.(string); ok {
			w.committed = append(w.committed, word)
		}
	}
}

func (w *words) Reload() error { w.reloads++; return nil }

// in are the words in the file.
func (w *words) in(t *testing.T, f *boltfile.File) (found string) {
	t.Helper()
	if err := f.View(func(tx *bolt.Tx) error {
		return tx.Bucket(w.bucket).ForEach(func(k, _ []byte) error { found += string(k); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

func (w *words) put(f *boltfile.File, word string) error {
	return f.Do(context.Background(), &boltfile.Write{Lane: w, Change: word, Items: 1, Bytes: len(word)}, 0)
}

func newFile(t *testing.T) (*boltfile.File, *words) {
	t.Helper()
	f, err := boltfile.Open(filepath.Join(t.TempDir(), "outbox"), boltfile.Options{
		Mode: 0o600, Now: time.Now, Init: func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("words")); return err },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &words{bucket: []byte("words")}
	if err := f.Enter("words", w); err != nil {
		t.Fatal(err)
	}
	return f, w
}

// A commit that fails because the descriptor is gone stores nothing. The file is opened again, its lane told,
// and the next commit works.
func TestDescriptorIsGone(t *testing.T) {
	f, w := newFile(t)
	if err := w.put(f, "a"); err != nil {
		t.Fatal(err)
	}
	if err := f.LoseDescriptor(); err != nil {
		t.Fatal(err)
	}
	err := w.put(f, "b")
	if !errors.Is(err, boltfile.ErrDisk) || !strings.Contains(err.Error(), "the outcome is unknown") && !strings.Contains(err.Error(), "nothing was stored") {
		t.Errorf("error %v, want ErrDisk, and what became of the write", err)
	}
	if err := f.Err(); err != nil || w.reloads != 1 {
		t.Errorf("not healed: %v, reloaded %d times", err, w.reloads)
	}
	if err := w.put(f, "c"); err != nil {
		t.Error(err)
	}
	if got, told := w.in(t, f), strings.Join(w.committed, ""); got != "ac" || told != "ac" {
		t.Errorf("%q in the file, %q told, want %q", got, told, "ac")
	}
}

// With its last lane an application's database is forgotten, also when the lane was refused.
func TestSharedIsForgotten(t *testing.T) {
	db := storetest.OpenDB(t, filepath.Join(t.TempDir(), "app.db"))
	a, b := &words{bucket: []byte("a")}, &words{bucket: []byte("b")}
	f, err := boltfile.EnterShared(db, "a", a)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := boltfile.EnterShared(db, "b", b); err != nil || g != f {
		t.Errorf("a second lane: %v, the same file: %t", err, g == f)
	}
	if _, err := boltfile.EnterShared(db, "b", b); !errors.Is(err, boltfile.ErrLocked) {
		t.Errorf("a lane again: %v, want ErrLocked", err)
	}
	f.Leave("a")
	if err := b.put(f, "x"); err != nil || boltfile.SharedFiles() != 1 {
		t.Errorf("beside a lane that has left: %v, %d remembered", err, boltfile.SharedFiles())
	}
	f.Leave("b")
	if n := boltfile.SharedFiles(); n != 0 {
		t.Errorf("%d databases are remembered after their lanes have left", n)
	}
	if err := b.put(f, "y"); !errors.Is(err, boltfile.ErrClosed) {
		t.Errorf("a write of a lane that has left: %v, want ErrClosed", err)
	}
	if _, err := store.In(db, "b", nil); err == nil { // a bucket that is no lane
		t.Error("it is taken for a lane")
	}
	if n := boltfile.SharedFiles(); n != 0 {
		t.Errorf("%d databases are remembered after a lane was refused", n)
	}
}

// A file that has grown since it was opened and is full of items is not compacted: it would not become
// smaller.
func TestFullFileIsNotCompacted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced here")
	}
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, filepath.Join(t.TempDir(), "outbox"))
		before := statOf(t, s.Path())
		items := storetest.Events(boltfile.CompactFrom / (2 << 20))
		for i := range items {
			items[i].Payload = make([]byte, 2<<20)
		}
		storetest.Put(t, s, items...)
		synctest.Wait() // it would be compacted as soon as nobody waits
		after := statOf(t, s.Path())
		if after.Size() < boltfile.CompactFrom {
			t.Fatalf("%d bytes are too few to be compacted", after.Size())
		}
		if !os.SameFile(before, after) {
			t.Errorf("%d bytes in use were copied to another file", after.Size())
		}
	})
}

func statOf(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// When bbolt panics while it opens a file, nobody keeps the lock: the file opens once it is repaired. Open
// refuses such a file before bbolt sees it, so the test opens it in the way of a compaction, which skips
// that look.
func TestPanicInOpenLeavesNoLock(t *testing.T) {
	sound := storetest.Specimen(t, true, func(path string) (storetest.Lane, error) { return store.Open(path, &prompt) })
	m := pagestest.Image(bytes.Clone(sound))
	m.Page(m.Meta().Freelist)[8] = pages.KindLeaf // bbolt panics on a free list that is none
	path := m.Write(t)
	db, err := boltfile.OpenAsCopy(path)
	if err == nil {
		db.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "invalid freelist page") {
		t.Fatalf("%v is not the panic of bbolt", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(sound, 0); err != nil { // the same file, which has the lock
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(storetest.Drain(t, openStore(t, path))); n != 900 {
		t.Errorf("%d delivered after the repair, want 900", n)
	}
}
