package peers

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Names of the peers that suites and targets ask for.
const (
	Outbox        = "outbox"
	OutboxBatched = "outbox, batches of 100"
	RawAppend     = "raw append + fdatasync"
	RawGroup      = "raw append, group commit"
	BboltUpdate   = "bbolt.Update"
	BboltGroup    = "bbolt, hand-made group commit"
	Goqite        = "goqite"
)

var outboxSingle = Peer{
	Name: Outbox, Module: "github.com/seed8107221f/outbox",
	Setup: "defaults",
	Ack:   "recorded on disk before the item is gone; gathered for up to 100 ms, which a crash would repeat",
	Open:  openOutbox,
	Drain: func(ctx context.Context, dir string, n int) (int, error) { return drainOutbox(ctx, dir, Free{}) },
}

var outboxBatched = Peer{
	Name: OutboxBatched, Module: outboxSingle.Module, Setup: outboxSingle.Setup, Ack: outboxSingle.Ack,
	Open:  openOutbox,
	Drain: func(ctx context.Context, dir string, n int) (int, error) { return drainOutbox(ctx, dir, FreeBatch{}) },
}

// Free is a transport that costs nothing.
type Free struct{}

// Send accepts.
func (Free) Send(context.Context, sender.Item) error { return nil }

// FreeBatch accepts up to a hundred items at once.
type FreeBatch struct{ Free }

// BatchLimit is a hundred items.
func (FreeBatch) BatchLimit() (items, bytes int) { return 100, 0 }

// SendBatch accepts all.
func (FreeBatch) SendBatch(_ context.Context, items []sender.Item) []error {
	return make([]error, len(items))
}

// OutboxPath is the file of an outbox in dir.
func OutboxPath(dir string) string { return filepath.Join(dir, "outbox.db") }

type outboxQueue struct{ *outbox.Outbox }

// Put makes an open outbox a Queue.
func Put(b *outbox.Outbox) Queue { return outboxQueue{b} }

func openOutbox(dir string) (Queue, error) {
	b, err := outbox.Open(OutboxPath(dir), nil, nil)
	if err != nil {
		return nil, err
	}
	return outboxQueue{b}, nil
}

func (q outboxQueue) Put(ctx context.Context, key string, payload []byte) error {
	_, err := q.Outbox.Put(ctx, outbox.Event{Kind: "bench", Key: key, Payload: payload})
	return err
}

func (q outboxQueue) PutMany(ctx context.Context, payloads [][]byte) error {
	events := make([]outbox.Event, len(payloads))
	for i := range events {
		events[i] = outbox.Event{Kind: "bench", Payload: payloads[i]}
	}
	_, err := q.PutAll(ctx, events...)
	return err
}

// drainOutbox drains everything: an outbox need not be told how many.
func drainOutbox(ctx context.Context, dir string, t sender.Transport) (int, error) {
	b, err := outbox.Open(OutboxPath(dir), t, nil)
	if err != nil {
		return 0, err
	}
	before := b.Stats().Delivered
	if err = b.Flush(ctx); errors.Is(err, context.DeadlineExceeded) {
		err = nil // the time was up
	}
	delivered := int(b.Stats().Delivered - before)
	return delivered, errors.Join(err, b.Close())
}
