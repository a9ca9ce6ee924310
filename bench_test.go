package outbox_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// free is a destination that accepts everything at once.
type free struct{}

func (free) Send(context.Context, sender.Item) error { return nil }

// freeBatch accepts up to a hundred items at once.
type freeBatch struct{ free }

func (freeBatch) BatchLimit() (items, bytes int) { return 100, 0 }
func (freeBatch) SendBatch(_ context.Context, items []sender.Item) []error {
	return make([]error, len(items))
}

// BenchmarkDrain delivers a backlog of 100,000 events of 512 bytes to a transport that costs
// nothing.
func BenchmarkDrain(b *testing.B) {
	const backlog = 100_000
	for _, t := range []struct {
		name string
		t    sender.Transport
	}{{"single", free{}}, {"batch", freeBatch{}}} {
		for _, keys := range []int{0, 10_000} {
			b.Run(fmt.Sprintf("%s/keys=%d", t.name, keys), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					path := filepath.Join(b.TempDir(), "outbox.db")
					fill(b, path, backlog, keys)
					b.StartTimer()
					o, err := outbox.Open(path, t.t, nil)
					if err != nil {
						b.Fatal(err)
					}
					if err := o.Flush(b.Context()); err != nil {
						b.Fatal(err)
					}
					if err := o.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(backlog)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}

func fill(b *testing.B, path string, n, keys int) {
	o, err := outbox.Open(path, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 512)
	for done := 0; done < n; {
		events := make([]outbox.Event, 10_000)
		for i := range events {
			events[i] = outbox.Event{Kind: "track", Payload: payload}
			if keys > 0 {
				events[i].Key = fmt.Sprint("customer-", (done+i)%keys)
			}
		}
		if _, err := o.PutAll(b.Context(), events...); err != nil {
			b.Fatal(err)
		}
		done += len(events)
	}
	if err := o.Close(); err != nil {
		b.Fatal(err)
	}
}
