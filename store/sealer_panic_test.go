package store_test

import (
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// panicking is a Sealer that panics in the method that in names.
type panicking struct {
	store.Sealer
	in *string
}

func (p panicking) Current() string {
	if *p.in == "current" {
		panic("plain text")
	}
	return p.Sealer.Current()
}

func (p panicking) Seal(dst []byte, id string, plain, additional []byte) ([]byte, error) {
	if *p.in == "seal" {
		panic("plain text")
	}
	return p.Sealer.Seal(dst, id, plain, additional)
}

func (p panicking) Open(dst []byte, id string, sealed, additional []byte) ([]byte, error) {
	if *p.in == "open" {
		panic("plain text")
	}
	return p.Sealer.Open(dst, id, sealed, additional)
}

// A Sealer that panics makes Open return an error. The file is not left locked, and no item is lost.
func TestOpenWithSealerThatPanics(t *testing.T) {
	aes, err := store.AESGCM("k", map[string][]byte{"k": make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	path, in := t.TempDir()+"/outbox", ""
	o := &store.Options{Gather: -1, LockTimeout: -1, Sealer: panicking{aes, &in}}
	failing := func(what string, err error) {
		t.Helper()
		if err == nil || strings.Contains(err.Error(), "plain text") {
			t.Errorf("%s: error %v, want one without the text of the panic", what, err)
		}
	}
	for _, in = range []string{"current", "seal"} { // of the first Open, which seals the lane
		_, err := store.Open(path, o)
		failing("Open, a panic in "+in, err)
	}
	in = ""
	s, err := store.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, storetest.Event("a", ""))
	storetest.CheckedClose(t, s)
	in = "open" // the secret
	_, err = store.Open(path, o)
	failing("Open of a sealed lane", err)
	in = ""
	if s, err = store.Open(path, o); err != nil {
		t.Fatal(err)
	}
	storetest.WantNames(t, "delivered", storetest.Drain(t, s), "a")
	storetest.CheckedClose(t, s)
}
