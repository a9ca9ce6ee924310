package store

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/seed8107221f/outbox/sender"
)

// Many lanes are created in one commit, and opening creates none.
func TestLanes(t *testing.T) {
	s := newStore(t, nil)
	var commits atomic.Int32
	s.Fault(func(committed bool) error {
		if committed {
			commits.Add(1)
		}
		return nil
	})
	names := make([]string, 1000)
	for i := range names {
		names[i] = fmt.Sprintf("workspace %d", i)
	}
	for i, want := range []int32{1, 0} {
		commits.Store(0)
		lanes, err := s.OpenLanes(&prompt, names...)
		if err != nil {
			t.Fatal(err)
		}
		if n := commits.Load(); n != want {
			t.Errorf("call %d took %d commits, want %d", i+1, n, want)
		}
		if len(lanes) != len(names) {
			t.Fatalf("%d lanes, want %d", len(lanes), len(names))
		}
		for j, l := range lanes {
			if j%100 == i { // each lane is the one of its name
				put(t, l, event(names[j], ""))
				wantNames(t, "in the lane", kinds(list(t, l.Pending())), names[j])
			}
		}
		_, err = s.OpenLanes(&prompt, "free", names[7])
		wantError(t, err, ErrLocked)
		free, err := s.Lane("free", &prompt) // what failed has left nothing open
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range append(lanes, free) {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Fault(nil)
	if _, err := s.OpenLanes(&prompt, "a", ""); err == nil {
		t.Error("a lane without a name was opened")
	}
	for range 2 {
		lanes, err := s.OpenLanes(sealed(t, "k1"), "sealed 1", "sealed 2", "sealed 3")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lanes {
			put(t, l, event(l.name, ""))
			wantNames(t, "in the sealed lane", drain(t, l), l.name)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if lanes, err := s.OpenLanes(nil); len(lanes) != 0 || err != nil {
		t.Errorf("no names: %d lanes, %v", len(lanes), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := s.OpenLanes(&prompt, "late")
	wantError(t, err, sender.ErrClosed)
}
