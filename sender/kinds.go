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
//
// The result closes the idle connections of each [IdleCloser] in m. It is a [Prober] if all of m
// are; then all have to answer.
func ByKind(m map[string]Transport) Transport {
	all := byKind(maps.Clone(m))
	for _, t := range all {
		if _, ok := t.(Prober); !ok {
			return all
		}
	}
	if len(all) == 0 {
		return all
	}
	return probingKinds{all}
}

type byKind map[string]Transport

// CloseIdleConnections makes byKind an [IdleCloser].
func (m byKind) CloseIdleConnections() {
	for _, t := range m {
		if c, ok := t.(IdleCloser); ok {
			c.CloseIdleConnections()
		}
	}
}

// probingKinds is a byKind of which every transport is a [Prober].
type probingKinds struct{ byKind }

func (m probingKinds) Probe(ctx context.Context) error {
	for _, t := range m.byKind {
		if err := t.(Prober).Probe(ctx); err != nil {
			return err
		}
	}
	return nil
}

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
