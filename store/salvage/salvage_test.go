package salvage_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

func TestMain(m *testing.M) { campaign.Run(m) }

// prompt settles at once, and waits for no lock.
var prompt = store.Options{Gather: -1, LockTimeout: -1}

func openStore(t testing.TB, path string, o *store.Options) *store.Store {
	t.Helper()
	if o == nil {
		o = &prompt
	}
	s, err := store.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	storetest.CheckAtEnd(t, s)
	return s
}

// specimen is a file with a lane of a thousand items, some large, closed cleanly or not.
func specimen(t testing.TB, clean bool) pagestest.Image {
	return storetest.Specimen(t, clean, func(path string) (storetest.Lane, error) { return store.Open(path, &prompt) })
}

// salvaged salvages an pagestest.Image, and opens what comes out.
func salvaged(t *testing.T, m pagestest.Image) (salvage.Report, *store.Store) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox")
	if err := os.WriteFile(path, m, 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := salvage.File(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if old, err := os.ReadFile(res.Original); err != nil || !bytes.Equal(old, m) {
		t.Errorf("the original is not as it was: %v", err)
	}
	if left, err := filepath.Glob(path + "*"); err != nil || len(left) != 2 {
		t.Errorf("%q, want two files", left)
	}
	return res, openStore(t, path, nil)
}

// A sound file comes out with every item in its place, and everything else that was known.
func TestSalvageSound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, nil)
	eu, err := s.Lane("eu", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	timed := storetest.Event("timed", "")
	timed.Due = time.Now().Add(time.Hour)
	storetest.Put(t, s, storetest.Event("sent", ""), storetest.Event("retried", "k"), storetest.Event("dead", ""), storetest.Event("ready", ""), timed)
	storetest.Put(t, eu, storetest.Events(50)...)
	items := storetest.Claims(t, s, 3)
	storetest.Settle(t, s, storetest.Delivered(items[0])...)
	storetest.Settle(t, s, storetest.Failed(items[1], sender.Retry, time.Now().Add(time.Hour)), storetest.Failed(items[2], sender.Dead, time.Time{}))
	if err := s.AppendNoted(t.Context(), "line", []byte("42")); err != nil {
		t.Fatal(err)
	}
	pending, dead, inEU := storetest.List(t, s.Pending()), storetest.List(t, s.Dead()), storetest.List(t, eu.Pending())
	want := s.Counts()
	storetest.CheckedClose(t, s)

	into := filepath.Join(t.TempDir(), "fresh")
	res, err := salvage.File(path, into)
	if err != nil || res.Saved != 54 || res.Suspicious != 0 || res.Lost != 0 || len(res.Problems) != 0 || res.Original != path || res.Path != into {
		t.Fatalf("%+v, %v", res, err)
	}
	n := openStore(t, into, nil)
	neu, err := n.Lane("eu", &prompt)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want []sender.Item
	}{{"pending", storetest.List(t, n.Pending()), pending}, {"dead", storetest.List(t, n.Dead()), dead}, {"eu", storetest.List(t, neu.Pending()), inEU}} {
		if !slices.EqualFunc(c.got, c.want, func(a, b sender.Item) bool {
			return a.ID == b.ID && a.Seq == b.Seq && a.Due.UnixNano() == b.Due.UnixNano() && a.Failures == b.Failures && a.LastErr == b.LastErr && bytes.Equal(a.Payload, b.Payload)
		}) {
			t.Errorf("%s: %+v, want %+v", c.what, c.got, c.want)
		}
	}
	got := n.Counts()
	if got.Put != want.Put || got.Delivered != want.Delivered || got.Pending != want.Pending || got.Dead != want.Dead {
		t.Errorf("%+v, want %+v", got, want)
	}
	if note, err := n.Note("line"); string(note) != "42" || err != nil {
		t.Errorf("note %q, %v", note, err)
	}
	storetest.Put(t, n, storetest.Event("new", ""))
	var last uint64
	for _, it := range storetest.List(t, n.Pending()) {
		if it.Kind == "new" {
			last = it.Seq
		}
	}
	for _, it := range append(pending, dead...) {
		if it.Seq >= last {
			t.Errorf("%d was assigned although %d is taken", last, it.Seq)
		}
	}
}

// One page that is gone costs what lay on it; everything else keeps its place.
func TestSalvageLostLeaf(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := specimen(t, clean)
		id := m.Find(t, pages.KindLeaf, 5)
		lost := int(pages.ParseHeader(m.Page(id)).Count)
		clear(m.Page(id))
		res, s := salvaged(t, m)
		if res.Saved != 900-lost || res.Lost != lost || len(res.Problems) == 0 || !strings.Contains(res.Problems[0].Error(), "ready") {
			t.Errorf("clean %t, %d lost: %+v", clean, lost, res)
		}
		if n := len(storetest.Drain(t, s)); n != 900-lost {
			t.Errorf("clean %t: %d delivered, want %d", clean, n, 900-lost)
		}
	}
}

// A branch costs nothing when something tells which of the pages below were in use, and otherwise the
// items below are kept for a person to look at.
func TestSalvageLostBranch(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := specimen(t, clean)
		clear(m.Page(m.Find(t, pages.KindBranch, 2)))
		res, s := salvaged(t, m)
		if clean && (res.Saved != 900 || res.Lost != 0 || res.Suspicious != 0) || !clean && res.Saved+res.Suspicious < 900 {
			t.Errorf("clean %t: %+v", clean, res)
		}
		for _, it := range storetest.List(t, s.Dead()) {
			if !strings.Contains(it.LastErr, "salvaged") {
				t.Errorf("dead with the reason %q", it.LastErr)
			}
		}
		dead := storetest.List(t, s.Dead())
		if _, err := s.Revive(t.Context(), dead...); err != nil {
			t.Error(err)
		}
		if n := len(storetest.Drain(t, s)); n < 900 {
			t.Errorf("clean %t: %d delivered, want 900", clean, n)
		}
	}
}

// A bit in a record costs that record, and its bytes are kept.
func TestSalvageDamagedRecord(t *testing.T) {
	m := specimen(t, false)
	p := m.Page(m.Find(t, pages.KindLeaf, 5))
	e := pages.ParseElement(p[pages.HeaderLen+pages.ElementLen:], 1, false)
	p[e.End-20] ^= 8
	res, s := salvaged(t, m)
	dead := storetest.List(t, s.Dead())
	if res.Saved != 899 || res.Lost != 1 || len(dead) != 1 || !bytes.Equal(dead[0].Payload, p[e.Value:e.End]) {
		t.Errorf("%+v, dead %+v", res, dead)
	}
}

// A bit in what a page says about its records costs nothing.
func TestSalvageDamagedElement(t *testing.T) {
	for name, at := range map[string]int{"count": 10, "overflow": 14, "number": 3, "kind": 9, "flags": 16, "offset": 21, "key length": 24, "value length": 45, "next offset": 37} {
		m := specimen(t, false)
		m.Page(m.Find(t, pages.KindLeaf, 5))[at] ^= 1
		if res, _ := salvaged(t, m); res.Saved != 900 || res.Lost != 0 {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

func TestSalvageWithoutMetas(t *testing.T) {
	for _, clean := range []bool{true, false} {
		m := specimen(t, clean)
		clear(m[:8192])
		res, s := salvaged(t, m)
		if res.Saved != 900 || res.Lost != 0 {
			t.Errorf("clean %t: %+v", clean, res)
		}
		if n := s.Counts().Delivered; n != 100 {
			t.Errorf("clean %t: %d were delivered, 100 expected", clean, n)
		}
	}
}

func TestSalvageRefuses(t *testing.T) {
	dir := t.TempDir()
	m := specimen(t, true)
	outbox, text, taken := filepath.Join(dir, "outbox"), filepath.Join(dir, "text"), filepath.Join(dir, "taken")
	for path, b := range map[string][]byte{outbox: m, text: bytes.Repeat([]byte("text"), 10000), taken: []byte("taken")} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := salvage.File(text, "")
	storetest.WantError(t, err, store.ErrFormat)
	_, err = salvage.File(outbox, taken)
	storetest.WantError(t, err, fs.ErrExist)
	_, err = salvage.File(filepath.Join(dir, "nothing"), "")
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrFormat) {
		t.Errorf("of a file that is not there: %v", err)
	}
	s := openStore(t, outbox, nil)
	_, err = salvage.File(outbox, "")
	storetest.WantError(t, err, store.ErrLocked)
	if want := "salvage: " + outbox + ": in use: salvage needs a file that no program has open"; err != nil && err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	storetest.CheckedClose(t, s)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v in %v, want the three that were there", err, entries)
	}
}
