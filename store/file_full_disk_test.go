//go:build unix && !darwin

package store

import (
	"errors"
	"syscall"
	"testing"
)

// An outcome that finds no room on the disk is not tried again and again: Settle says so, and works once
// there is room.
func TestOneOutcomeOnAFullDisk(t *testing.T) {
	s := newStore(t, nil)
	put(t, s, event("a", ""), event("b", ""))
	items := claims(t, s, 2)
	const few = 5
	for n := range items { // one at a time, and more than one
		commits, full := 0, true
		s.Fault(func(committed bool) error {
			if committed || !full {
				return nil
			}
			if commits++; commits > 20 {
				return errors.New("tried without end")
			}
			return syscall.ENOSPC
		})
		outcomes := delivered(items[:n+1]...)
		err := s.Settle(t.Context(), outcomes...)
		wantError(t, err, syscall.ENOSPC)
		if commits > few {
			t.Errorf("%d outcomes: %d commits on a full disk, want at most %d", n+1, commits, few)
		}
		if c := s.Counts(); c.Delivered != 0 || c.InFlight != 2 || c.Err != nil {
			t.Errorf("%d outcomes: counts on a full disk %+v", n+1, c)
		}
		full = false
	}
	settle(t, s, delivered(items...)...)
	if c := s.Counts(); c.Delivered != 2 || c.Pending != 0 {
		t.Errorf("counts once there is room %+v", c)
	}
}
