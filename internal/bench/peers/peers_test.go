package peers

import (
	"context"
	"testing"
	"time"
)

// Whatever can be drained gives back as many as were put, by several at once and across a Close.
func TestPeers(t *testing.T) {
	for _, p := range append(All(), outboxBatched) {
		t.Run(p.Name, func(t *testing.T) {
			dir := t.TempDir()
			q, err := p.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			const writers, each = 4, 5
			failed := make(chan error, writers)
			for range writers {
				go func() {
					var err error
					for range each {
						if err == nil {
							err = q.Put(t.Context(), "", []byte(`{"n":1}`))
						}
					}
					failed <- err
				}()
			}
			for range writers {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			if p.Drain == nil {
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if n, err := p.Drain(ctx, dir, writers*each); err != nil || n != writers*each {
				t.Errorf("drained %d of %d: %v", n, writers*each, err)
			}
		})
	}
}
