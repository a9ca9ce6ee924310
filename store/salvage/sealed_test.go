package salvage_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/pages"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
	"github.com/seed8107221f/outbox/store/salvage"
)

// sealed are prompt's options with a Sealer.
func sealed(t testing.TB) *store.Options {
	t.Helper()
	o := prompt
	var err error
	if o.Sealer, err = store.AESGCM("k1", map[string][]byte{"k1": make([]byte, 32)}); err != nil {
		t.Fatal(err)
	}
	return &o
}

// sealedImage is a file with a sealed lane, in which 300 items are ready, one is retried and one is dead.
func sealedImage(t *testing.T, o *store.Options) pagestest.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outbox")
	s := openStore(t, path, o)
	items := storetest.Events(302)
	items[0].Key, items[2].Key = "k", "k"
	storetest.Put(t, s, items...)
	got := storetest.Claims(t, s, 2)
	storetest.Settle(t, s, storetest.Failed(got[0], sender.Retry, time.Now()), storetest.Failed(got[1], sender.Dead, time.Time{}))
	storetest.CheckedClose(t, s)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A sealed lane comes out sealed, and opens with the same Sealer alone.
func TestSalvageSealed(t *testing.T) {
	o := sealed(t)
	path := sealedImage(t, o).Write(t)
	res, err := salvage.File(path, "")
	if err != nil || res.Saved != 302 || res.Suspicious != 0 || res.Lost != 0 || len(res.Problems) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if _, err := store.Open(path, &prompt); !errors.Is(err, store.ErrSealed) {
		t.Errorf("without a Sealer: %v", err)
	}
	s := openStore(t, path, o)
	if dead := storetest.List(t, s.Dead()); len(dead) != 1 || dead[0].LastErr != "refused 1" {
		t.Errorf("dead: %+v", dead)
	}
	got := storetest.Drain(t, s)
	if len(got) != 301 {
		t.Errorf("%d delivered, want 301", len(got))
	}
	for _, name := range got { // of one key
		if name == "0" {
			break
		}
		if name == "2" {
			t.Error("2 was delivered before 0")
		}
	}
}

// A damaged record of a sealed lane keeps its bytes among the dead, and a lost page costs what lay on it.
func TestSalvageSealedDamaged(t *testing.T) {
	o := sealed(t)
	m := sealedImage(t, o)
	p := m.Page(m.Find(t, pages.KindLeaf, 5))
	e := pagestest.Element(p, 1)
	p[e.End-20] ^= 8
	path := m.Write(t)
	res, err := salvage.File(path, "")
	if err != nil || res.Saved != 301 || res.Lost != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	s := openStore(t, path, o)
	dead := 0
	for _, it := range storetest.List(t, s.Dead()) {
		if strings.Contains(it.LastErr, "damaged") {
			dead++
			if string(it.Payload) != string(p[e.Value:e.End]) {
				t.Error("its bytes are not those of the record")
			}
		}
	}
	if n := len(storetest.Drain(t, s)); n+dead != 301 || dead != 1 {
		t.Errorf("%d delivered, %d dead", n, dead)
	}
	storetest.CheckedClose(t, s)

	m = sealedImage(t, o)
	id := m.Find(t, pages.KindLeaf, 5)
	lost := int(pages.ParseHeader(m.Page(id)).Count)
	clear(m.Page(id))
	path = m.Write(t)
	if res, err = salvage.File(path, ""); err != nil || res.Saved != 302-lost || res.Lost != lost {
		t.Fatalf("%d lost: %+v, %v", lost, res, err)
	}
	openStore(t, path, o)
}

// What a killed Salvage left behind is removed by the next, unless it is so young that it may be alive.
func TestSalvageLeftovers(t *testing.T) {
	path := specimen(t, true).Write(t)
	old, young := path+".salvaging-old", path+".salvaging-young"
	for _, p := range []string{old, young} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	if _, err := salvage.File(path, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
