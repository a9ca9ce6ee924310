package lane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/seed8107221f/outbox/sender"
)

// reviver refuses a whole commit when one of its items cannot be revived, as the store does.
type reviver struct {
	sender.Reviver
	bad     []uint64
	full    uint64 // there is no room from this Seq on; 0: there is
	revived []uint64
}

func (r *reviver) Revive(_ context.Context, items ...sender.Item) (int, error) {
	for _, it := range items {
		if slices.Contains(r.bad, it.Seq) {
			return 0, fmt.Errorf("item %d is damaged", it.Seq)
		}
		if r.full > 0 && it.Seq >= r.full {
			return 0, sender.ErrFull
		}
	}
	for _, it := range items {
		r.revived = append(r.revived, it.Seq)
	}
	return len(items), nil
}

// Those that cannot be revived do not keep the others back.
func TestReviveAroundDamage(t *testing.T) {
	items := make([]sender.Item, 100)
	for i := range items {
		items[i].Seq = uint64(i + 1)
	}
	r := &reviver{bad: []uint64{7, 8, 100}}
	n, alone, err := revive(t.Context(), r, items)
	if n != 97 || err != nil || alone == nil || alone.Error() != "item 7 is damaged" || len(r.revived) != 97 || !slices.IsSorted(r.revived) {
		t.Errorf("%d revived, %d in order; %v, %v", n, len(r.revived), alone, err)
	}
	r = &reviver{bad: []uint64{3}, full: 60}
	n, _, err = revive(t.Context(), r, items)
	if n != len(r.revived) || n == 0 || !errors.Is(err, sender.ErrFull) {
		t.Errorf("%d revived, %d in truth: %v", n, len(r.revived), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n, _, err := revive(ended, r, items); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d revived: %v", n, err)
	}
}
