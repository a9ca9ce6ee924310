package sender

import (
	"context"
	"fmt"
	"maps"
	"time"
)

const (
	unknownKindWait = time.Hour
	maxUnknownKinds = 100 // so many are logged
)

// ByKind returns a [Transport] that hands each item to the transport of its Kind in m. If m has
// none, or nil, the item waits an hour at a time ([Later]) until an upgraded program knows its
// kind. The sender logs each such kind once. Items go one by one, also to a [BatchTransport].
// ByKind copies m.
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
