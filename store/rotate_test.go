package store

import (
	"crypto/sha256"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

func TestKeysAreRotated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openStore(t, path, sealed(t, "old"))
	put(t, s, event("a1", "a"), event("b1", "b"))
	settle(t, s, failed(claims(t, s, 1)[0], sender.Retry, time.Now().Add(time.Hour)))
	checkedClose(t, s)

	s = openStore(t, path, sealed(t, "new", "old"))
	put(t, s, event("a2", "a"), event("c1", "c"))
	wantNames(t, "claimed: a1 is not due, and a2 behind it", kinds(claims(t, s, 9)), "b1", "c1")
	checkedClose(t, s)

	// The lane itself needs the new key alone, and so does what was put since.
	s = openStore(t, path, sealed(t, "new"))
	before := s.Counts()
	for range 3 {
		items, _, err := s.Claim(t.Context(), time.Now(), 9, 0)
		wantSealed(t, err, `"old"`)
		if len(items) > 0 {
			t.Errorf("claimed %q past one that cannot be opened", kinds(items))
		}
	}
	for it, err := range s.Pending() {
		if it.Kind == "" {
			wantSealed(t, err, `"old"`)
		} else if err != nil {
			t.Error(err)
		}
	}
	wantSealed(t, s.Check(t.Context()), `"old"`)
	if c := s.Counts(); c.Dead != 0 || c.Pending != 4 || c.Ready != before.Ready || c.InFlight != 0 {
		t.Errorf("counts %+v, were %+v", c, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, sealed(t, "newest", "new", "old"))
	wantNames(t, "delivered", drain(t, s), "b1", "c1")
	if _, err := s.Drop(t.Context(), mustFind(t, s, "a1")); err != nil {
		t.Fatal(err)
	}
	wantNames(t, "delivered", drain(t, s), "a2")
}

// A key that has the id of an old one, and is not it, would have its records taken for damaged ones.
func TestOldKeyMustBeTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openStore(t, path, sealed(t, "old"))
	put(t, s, event("a", "k"))
	checkedClose(t, s)
	checkedClose(t, openStore(t, path, sealed(t, "new", "old")))
	key := sha256.Sum256([]byte("key new"))
	mixedUp, err := AESGCM("new", map[string][]byte{"new": key[:], "old": key[:]})
	if err != nil {
		t.Fatal(err)
	}
	before := content(t, path)
	if s, err = Open(path, &Options{Sealer: mixedUp}); err == nil {
		s.Close()
	}
	wantSealed(t, err, path, `"old"`)
	if got := content(t, path); got != before {
		t.Errorf("changed:\n%s\nwas\n%s", got, before)
	}
	wantNames(t, "delivered", drain(t, openStore(t, path, sealed(t, "new", "old"))), "a")
}

// What lies before a record that cannot be opened is handed out.
func TestMissingKeyHoldsWhatIsBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	s := openStore(t, path, sealed(t, "k1"))
	put(t, s, event("a", ""))
	checkedClose(t, s)
	s = openStore(t, path, sealed(t, "k2", "k1"))
	put(t, s, event("b", ""))
	checkedClose(t, s)
	s = openStore(t, path, sealed(t, "k3", "k2", "k1"))
	put(t, s, event("c", ""))
	checkedClose(t, s)
	s = openStore(t, path, sealed(t, "k3", "k1"))
	items := claims(t, s, 9)
	wantNames(t, "claimed", kinds(items), "a")
	_, _, err := s.Claim(t.Context(), time.Now(), 9, 0)
	wantSealed(t, err, `"k2"`)
	settle(t, s, delivered(items...)...)
	if c := s.Counts(); c.Delivered != 1 || c.Ready != 2 || c.Dead != 0 {
		t.Errorf("counts %+v", c)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, sealed(t, "k3", "k2"))
	wantNames(t, "with the key", drain(t, s), "b", "c")
}
