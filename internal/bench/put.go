package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

var putSuite = suite{
	name:  "put",
	title: "Put",
	intro: "Each writer puts one item after the other, for itself, and waits until it is on disk. *Bytes* are those given to write calls; the journal of the file system comes on top. *Syncs* and *on disk* are from the table above.",
	cells: func(s scale) []cell {
		var cells []cell
		for _, size := range pick(s, []int{512, 4096}, []int{512}) {
			for _, writers := range pick(s, []int{1, 8, 64, 512}, []int{1, 8}) {
				put := func(name, peer string, keys int) {
					cells = append(cells, cell{writersGroup(writers, size), name, spec{
						Op: "put", Peer: peer, Writers: writers, Size: size, Keys: keys, Duration: s.duration,
					}})
				}
				put(peers.Outbox, peers.Outbox, 0)
				put(keyed(peers.Outbox), peers.Outbox, 10_000)
				for _, p := range peers.All()[1:] {
					put(p.Name, p.Name, 0)
					if p.Name == peers.BboltGroup {
						put(keyed(p.Name), p.Name, 10_000)
					}
				}
			}
		}
		bulk := func(name, peer string) {
			cells = append(cells, cell{putAllGroup, name, spec{Op: "bulk", Peer: peer, Writers: 1, Size: 512, Items: 1000, Duration: s.duration}})
		}
		bulk(peers.Outbox, peers.Outbox)
		bulk("bbolt, one Update, FillPercent 1", peers.BboltGroup)
		return cells
	},
	measure: func(h *harness, c cell) (metrics, error) {
		m, err := run(h.ctx, c.spec)
		if err == nil && c.spec.Op == "put" {
			h.addSyncs(m, c.spec)
		}
		return m, err
	},
	ratio: "rate",
	columns: []column{
		{"items/s", "rate", number, true},
		{"p50 ms", "p50", millis, false},
		{"p99 ms", "p99", millis, false},
		{"bytes/item", "bytes", number, false},
		{"syncs/item", "syncs", number, false},
		{"on disk at return", "durable", yesShare, false},
		{"CPU µs/item", "cpu", func(x float64) string { return number(x * 1e6) }, false},
	},
}

const putAllGroup = "1,000 items in one call, 1 writer, 512 B"

// keyed is the name of a row whose items have keys.
func keyed(name string) string { return name + ", 10,000 keys" }

func openPeer(s spec) (peers.Queue, error) {
	p, ok := peers.Find(s.Peer)
	if !ok {
		return nil, fmt.Errorf("no peer %q", s.Peer)
	}
	return p.Open(s.Dir)
}

func putOp(s spec) (m metrics, err error) {
	q, err := openPeer(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	return measurePut(s, q)
}

// measurePut lets the writers of s put into q.
func measurePut(s spec, q peers.Queue) (metrics, error) {
	ctx := context.Background()
	l := newLoad(s)
	put := func(key string, payload []byte) error { return q.Put(ctx, key, payload) }
	if _, err := l.run(s.Duration/5, put); err != nil {
		return nil, err
	}
	before := readUsage()
	n, err := l.run(s.Duration, put)
	if err != nil {
		return nil, err
	}
	m := readUsage().since(before, n)
	l.latencies(m)
	return m, nil
}

// bulkOp has one caller put groups of s.Items.
func bulkOp(s spec) (m metrics, err error) {
	q, err := openPeer(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	many, ok := q.(peers.Many)
	if !ok {
		return nil, fmt.Errorf("%s puts one at a time", s.Peer)
	}
	all := payloads(s.Size)
	items := make([][]byte, s.Items)
	for i := range items {
		items[i] = all[i%len(all)]
	}
	put := func(string, []byte) error { return many.PutMany(context.Background(), items) }
	l := newLoad(s)
	if _, err := l.run(s.Duration/5, put); err != nil {
		return nil, err
	}
	before := readUsage()
	n, err := l.run(s.Duration, put)
	if err != nil {
		return nil, err
	}
	m = readUsage().since(before, n*s.Items)
	l.latencies(m)
	return m, nil
}
