// Package peers holds what people use in the place of an outbox, each set up so that an item is on
// disk when Put returns, as far as the peer can do that.
package peers

import "context"

// A Queue is an open peer. Put is safe for concurrent use.
type Queue interface {
	// Put returns when the item is stored as safely as the peer can. The payload is not modified.
	Put(ctx context.Context, key string, payload []byte) error
	Close() error
}

// Many is a [Queue] that can store many items in one call, all or none.
type Many interface {
	PutMany(ctx context.Context, payloads [][]byte) error
}

// A Peer can be opened, and most can be drained.
type Peer struct {
	Name   string
	Module string // whose version the report names; "": none is needed
	Setup  string // how it is set up here
	Ack    string // what drained means for it

	// Open opens the peer in a directory, empty or as Close left it.
	Open func(dir string) (Queue, error)
	// Drain opens the peer in dir, delivers n items to nobody and returns how many were both
	// delivered and removed when that was done, or when ctx ended. nil: it cannot.
	Drain func(ctx context.Context, dir string, n int) (int, error)
}

// All returns the peers in the order of the report, outbox first, its nearest yardsticks beside it.
func All() []Peer {
	return []Peer{
		outboxSingle, bboltGroup, bboltUpdate, bboltBatch, rawGroup, rawAppend,
		goqitePeer, backlitePeer, dquePeer, diskqueuePeer, otelPeer,
	}
}

// Find returns the peer of that name, those that only drain included.
func Find(name string) (Peer, bool) {
	for _, p := range append(All(), outboxBatched) {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}
