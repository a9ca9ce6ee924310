package acceptance

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// A nil context is an error of the call, and nothing happens.
func TestNilContext(t *testing.T) {
	t.Parallel()
	for name, tr := range map[string]sender.Transport{"sends": answer(nil), "stores only": nil} {
		t.Run(name, func(t *testing.T) {
			st, err := store.Open(newPath(t), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			b, err := outbox.New(st, tr, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			var none context.Context
			it := sender.Item{Seq: 1, ID: uuid.New(), Created: time.Now()}
			for op, call := range map[string]func() error{
				"Outbox.Put":        func() error { _, err := b.Put(none, outbox.Event{}); return err },
				"Outbox.PutAll":     func() error { _, err := b.PutAll(none, outbox.Event{}); return err },
				"Outbox.Find":       func() error { _, err := b.Find(none, it.ID); return err },
				"Outbox.Revive":     func() error { _, err := b.Revive(none, it); return err },
				"Outbox.Drop":       func() error { _, err := b.Drop(none, it); return err },
				"Outbox.List":       func() error { _, err := b.List(none, sender.Query{}); return err },
				"Outbox.Erase":      func() error { _, err := b.Erase(none, "ann"); return err },
				"Outbox.Check":      func() error { return b.Check(none) },
				"Outbox.Compact":    func() error { return b.Compact(none) },
				"Outbox.Flush":      func() error { return b.Flush(none) },
				"Outbox.Drain":      func() error { return b.Drain(none) },
				"Outbox.Shutdown":   func() error { return b.Shutdown(none) },
				"Store.Append":      func() error { return st.Append(none, it) },
				"Store.AppendNoted": func() error { return st.AppendNoted(none, "key", nil, it) },
				"Store.Claim":       func() error { _, _, err := st.Claim(none, time.Now(), 1, 0); return err },
				"Store.Settle":      func() error { return st.Settle(none, sender.Outcome{Item: it}) },
				"Store.Mark":        func() error { _, err := st.Mark(none, time.Now()); return err },
				"Store.Unsent":      func() error { _, err := st.Unsent(none, time.Now(), 1); return err },
			} {
				if err := call(); err == nil || !strings.Contains(err.Error(), "context is nil") {
					t.Errorf("%s: %v", op, err)
				}
			}
			if s := b.Stats(); s.Put != 0 {
				t.Errorf("%d stored", s.Put)
			}
			if _, err := b.Put(t.Context(), outbox.Event{}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
