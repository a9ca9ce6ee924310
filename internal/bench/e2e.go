package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/store"
)

const (
	e2eGroup   = "64 producers, 512 B"
	e2eBare    = "the client alone, 64 at once, nothing persistent"
	e2eOutbox  = peers.Outbox // Concurrency 64
	e2eBounded = "outbox, MaxPending 1,000 and Block"
	e2eDefault = "outbox, the default Concurrency of 10"
	e2eAtOnce  = 64
)

var e2eSuite = suite{
	name:  "e2e",
	title: "End to end over HTTP",
	intro: "64 producers put without a pause while the outbox delivers, over HTTP on this machine, whose cores producers, outbox and server share. Beside it the same client is called by 64 producers that persist nothing. Two rows have a Concurrency of 64, one of them with a bound that makes producers wait; the third has the defaults. *Left* is what had been put and not delivered at the end.",
	cells: func(s scale) []cell {
		of := func(name, variant string, concurrency int) cell {
			return cell{e2eGroup, name, spec{Op: "e2e", Peer: peers.Outbox, Writers: e2eAtOnce, Size: 512, Items: concurrency, Variant: variant, Duration: 2 * s.duration}}
		}
		return []cell{of(e2eOutbox, "outbox", e2eAtOnce), of(e2eBounded, "bounded", e2eAtOnce), of(e2eDefault, "outbox", 0), of(e2eBare, "bare", 0)}
	},
	ratio: "rate",
	columns: []column{
		{"delivered/s", "rate", number, true},
		{"put/s", "put", number, false},
		{"left", "left", grouped, false},
		{"put p50 ms", "p50", millis, false},
		{"put p99 ms", "p99", millis, false},
	},
}

// post sends a payload and reads the answer to its end, so that the connection is used again.
func post(ctx context.Context, client *http.Client, url string, payload []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// e2eOp has s.Writers put for s.Duration. Items is the Concurrency of the outbox.
func e2eOp(s spec) (metrics, error) {
	var arrived atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			arrived.Add(1)
		}
	}))
	defer server.Close()
	client := httpsend.NewClient()
	ctx := context.Background()
	put := func(_ string, payload []byte) error { return post(ctx, client, server.URL, payload) }
	left := func() float64 { return 0 }
	if s.Variant != "bare" {
		opts := &outbox.Options{Sender: sender.Options{Concurrency: s.Items}}
		if s.Variant == "bounded" {
			opts.Store = store.Options{MaxPending: 1_000, Block: true}
		}
		b, err := outbox.Open(peers.OutboxPath(s.Dir), sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
			return post(ctx, client, server.URL, it.Payload)
		}), opts)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		put = func(_ string, payload []byte) error {
			_, err := b.Put(ctx, outbox.Event{Kind: "bench", Payload: payload})
			return err
		}
		left = func() float64 { return float64(b.Stats().Pending) }
	}
	l := newLoad(s)
	if _, err := l.run(s.Duration/5, put); err != nil {
		return nil, err
	}
	before, from := readUsage(), arrived.Load()
	n, err := l.run(s.Duration, put)
	if err != nil {
		return nil, err
	}
	after := readUsage()
	took := after.at.Sub(before.at)
	m := after.since(before, n)
	m["put"], m["rate"] = m["rate"], float64(arrived.Load()-from)/took.Seconds()
	m["balance"] = m["rate"] / m["put"]
	m["left"] = left()
	l.latencies(m)
	return m, nil
}
