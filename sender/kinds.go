package sender

import (
	"context"
	"fmt"
	"maps"
	"time"
)

const (
	unknownKindWait = time.Hour
	maxUnknownKinds = 100 // that are remembered as logged
)

// ByKind returns a [Transport] that hands each item to the one for its Kind. An item of a kind that
// has none, or nil, waits an hour at a time ([Later]), which the sender logs once for each kind: a
// program that was upgraded brings it back. Items go one by one, also to a [BatchTransport]. m is
// copied.
func ByKind(m map[string]Transport) Transport { return byKind(maps.Clone(m)) }

type byKind map[string]Transport

func (m byKind) Send(ctx context.Context, it Item) error {
	t := m[it.Kind]
	if t == nil {
		return Later(&unknownKind{it.Kind}, unknownKindWait)
	}
	return t.Send(ctx, it)
}

// unknownKind is the error of an item whose kind has no transport.
type unknownKind struct{ kind string }

func (e *unknownKind) Error() string { return fmt.Sprintf("sender: no transport for kind %q", e.kind) }
