package salvage_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/internal/pages/pagestest"
	"github.com/seed8107221f/outbox/store/internal/storetest"
)

// A pause of the operator is kept. If it cannot be read, the lane stays paused: it may have been in
// force.
func TestSalvageOperatorPause(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox")
	s, err := store.Open(path, &prompt)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, storetest.Event("1", ""))
	if err := s.Pause(t.Context(), sender.Pause{By: "oncall", Reason: "nightly load"}); err != nil {
		t.Fatal(err)
	}
	want := s.OperatorPause()
	storetest.CheckedClose(t, s)
	sound := pagestest.Read(t, path)

	res, n := salvaged(t, sound)
	if got := n.OperatorPause(); got != want || len(res.Problems) != 0 {
		t.Errorf("the pause is %+v, was %+v; %v", got, want, res.Problems)
	}

	res, n = salvaged(t, pagestest.Image(bytes.ReplaceAll(sound, []byte("nightly load"), []byte("nightly toad"))))
	got := n.OperatorPause()
	if got.Since.IsZero() || !got.Until.IsZero() || got.By != "salvage" || len(res.Problems) == 0 {
		t.Errorf("a damaged pause becomes %+v, want one without an end; %v", got, res.Problems)
	}
	if items := storetest.Claims(t, n, 1); len(items) > 0 {
		t.Errorf("claimed %q", storetest.Kinds(items))
	}
	if err := n.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.WantNames(t, "after Resume", storetest.Drain(t, n), "1")
}
