package acceptance

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/store"
)

func TestOneOutboxToALane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(newPath(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		first, err := outbox.New(st, answer(nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := outbox.New(st, answer(nil), nil); !errors.Is(err, store.ErrLocked) {
			t.Errorf("a second outbox on the lane: %v, want ErrLocked", err)
			if second != nil {
				second.Close()
			}
		}
		if _, err := first.Put(context.Background(), outbox.Event{}); err != nil {
			t.Errorf("the first goes on: %v", err)
		}
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		next, err := outbox.New(st, answer(nil), nil)
		if err != nil {
			t.Fatalf("one after the other: %v", err)
		}
		if _, err := next.Put(context.Background(), outbox.Event{}); err != nil {
			t.Error(err)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	})
}
