package acceptance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// OnPut sees each event before it is checked, whoever puts it, and is told the result once.
func TestOnPut(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "mine")
	var began, ended []string
	o := &outbox.Options{OnPut: func(ctx context.Context, e *outbox.Event) func(uuid.UUID, error) {
		if ctx.Value(key{}) != "mine" {
			t.Error("the context is another")
		}
		name := e.Kind
		began = append(began, name)
		e.Header = maps.Clone(e.Header)
		if e.Header == nil {
			e.Header = map[string]string{}
		}
		e.Header["trace"] = name
		if name == "quiet" {
			return nil
		}
		return func(id uuid.UUID, err error) {
			ended = append(ended, fmt.Sprintf("%s %t %t %t", name, id != uuid.Nil, errors.Is(err, outbox.ErrInvalid), errors.Is(err, outbox.ErrClosed)))
		}
	}}
	m := new(txMemory)
	b, err := outbox.New(m, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	long := strings.Repeat("k", 2000)
	mine := map[string]string{"own": "value"}
	all := []outbox.Event{{Kind: "all1", Header: mine}, {Kind: "all2"}}
	b.Put(ctx, outbox.Event{Kind: "put", Header: mine})
	b.Put(ctx, outbox.Event{Kind: "quiet"})
	b.Put(ctx, outbox.Event{Kind: "invalid", Key: long})
	b.PutAll(ctx, all...)
	b.PutAll(ctx, outbox.Event{Kind: "good"}, outbox.Event{Kind: "bad", Key: long})
	b.PutTx(ctx, nil, outbox.Event{Kind: "tx"})
	b.PutBy(ctx, outbox.Event{Kind: "by"}, func(it sender.Item) error { return m.Append(ctx, it) })
	b.PutAllBy(ctx, []outbox.Event{{Kind: "allby"}}, func(items ...sender.Item) error { return m.Append(ctx, items...) })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.Put(ctx, outbox.Event{Kind: "closed"})
	b.PutAll(ctx, outbox.Event{Kind: "closed all"})
	if want := []string{"put", "quiet", "invalid", "all1", "all2", "good", "bad", "tx", "by", "allby", "closed", "closed all"}; !slices.Equal(began, want) {
		t.Errorf("began  %q\nwant   %q", began, want)
	}
	if want := []string{
		"put true false false", "invalid false true false", "all1 true false false", "all2 true false false",
		"good true true false", "bad false true false", "tx true false false", "by true false false", "allby true false false",
		"closed true false true", "closed all true false true",
	}; !slices.Equal(ended, want) {
		t.Errorf("ended  %q\nwant   %q", ended, want)
	}
	if len(mine) != 1 || all[0].Header["trace"] != "" || all[1].Header != nil {
		t.Errorf("what belongs to the caller has changed: %v, %v", mine, all)
	}
	if want := []string{"put", "quiet", "all1", "all2", "tx", "by", "allby"}; !slices.Equal(m.traces, want) {
		t.Errorf("%q are stored, want %q", m.traces, want)
	}
}

// txMemory records the header that OnPut adds.
type txMemory struct {
	sendertest.Memory
	traces []string
}

func (m *txMemory) AppendTx(_ *bbolt.Tx, items ...sender.Item) error {
	return m.Append(context.Background(), items...)
}

func (m *txMemory) Append(ctx context.Context, items ...sender.Item) error {
	for _, it := range items {
		m.traces = append(m.traces, it.Header["trace"])
	}
	return m.Memory.Append(ctx, items...)
}

// With the hook or without it, the event stays off the heap.
func TestPutKeepsTheEventOffTheHeap(t *testing.T) {
	with := func(o *outbox.Options) float64 {
		b, err := outbox.New(new(sendertest.Memory), nil, o)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		nothing := func(sender.Item) error { return nil }
		e := outbox.Event{ID: uuid.New(), Kind: "a"}
		return testing.AllocsPerRun(100, func() { b.PutBy(t.Context(), e, nothing) })
	}
	if none, some := with(nil), with(&outbox.Options{OnPut: func(context.Context, *outbox.Event) func(uuid.UUID, error) { return nil }}); none != some {
		t.Errorf("%v allocations without OnPut, %v with it", none, some)
	}
}
