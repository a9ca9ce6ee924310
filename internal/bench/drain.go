package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

const drainGroup = "512 B"

var drainSuite = suite{
	name:  "drain",
	title: "Drain",
	intro: "A backlog is delivered to a transport that costs nothing, from opening the file until everything is recorded as delivered. The peers have a smaller backlog, and a few seconds; what drained means for each stands below.",
	cells: func(s scale) []cell {
		n := pick(s, 100_000, 2_000)
		var cells []cell
		for _, name := range []string{peers.Outbox, peers.OutboxBatched} {
			for _, keys := range []int{0, 10_000} {
				row := name
				if keys > 0 {
					row = keyed(name)
				}
				cells = append(cells, cell{drainGroup, row, spec{Op: "drain", Peer: name, Size: 512, Keys: keys, Items: n, Writers: 64, Duration: time.Minute}})
			}
		}
		for _, p := range peers.All()[1:] {
			if p.Drain != nil {
				cells = append(cells, cell{drainGroup, p.Name, spec{Op: "drain", Peer: p.Name, Size: 512, Items: pick(s, 4_000, 50), Writers: 64, Duration: 3 * s.duration}})
			}
		}
		return cells
	},
	measure: func(h *harness, c cell) (metrics, error) {
		fill := c.spec
		fill.Op = "fill"
		if _, err := run(h.ctx, fill); err != nil {
			return nil, err
		}
		return run(h.ctx, c.spec)
	},
	ratio: "rate",
	columns: []column{
		{"items/s", "rate", number, true},
		{"of", "backlog", grouped, false},
		{"drained", "items", grouped, false},
		{"bytes/item", "bytes", number, false},
		{"CPU µs/item", "cpu", func(x float64) string { return number(x * 1e6) }, false},
		{"allocations/item", "allocs", number, false},
	},
}

// fillOp puts s.Items into a peer: the outbox in large groups, others by s.Writers.
func fillOp(s spec) (m metrics, err error) {
	if s.Peer == peers.Outbox || s.Peer == peers.OutboxBatched {
		var due time.Time
		if s.Variant == tomorrow {
			due = time.Now().Add(24 * time.Hour)
		}
		return metrics{}, fillOutbox(s.Dir, s, due)
	}
	q, err := openPeer(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	s.Writers = min(s.Writers, s.Items)
	l := newLoad(s)
	_, err = l.while(func(done int) bool { return done < (s.Items+s.Writers-1)/s.Writers }, func(key string, payload []byte) error {
		return q.Put(context.Background(), key, payload)
	})
	return metrics{}, err
}

func drainOp(s spec) (metrics, error) {
	p, ok := peers.Find(s.Peer)
	if !ok || p.Drain == nil {
		return nil, fmt.Errorf("%s cannot be drained", s.Peer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.Duration)
	defer cancel()
	before := readUsage()
	n, err := p.Drain(ctx, s.Dir, s.Items)
	if err != nil {
		return nil, err
	}
	m := readUsage().since(before, n)
	m["backlog"] = float64(s.Items)
	return m, nil
}
