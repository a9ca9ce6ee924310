package main

import (
	"time"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

const (
	allocsPut   = "a Put"
	allocsDrain = "a settled event in a drain of 100,000"
)

var allocsSuite = suite{
	name:   "allocs",
	title:  "Allocations",
	intro:  "Of the whole process, for each event: the writers and the commit together, or claim, sending and settling together.",
	rounds: 3,
	cells: func(s scale) []cell {
		put := func(writers, keys int) spec {
			return spec{Op: "put", Peer: peers.Outbox, Writers: writers, Size: 512, Keys: keys, Duration: s.duration}
		}
		drain := func(peer string) spec {
			return spec{Op: "drain", Peer: peer, Size: 512, Items: pick(s, 100_000, 2_000), Duration: time.Minute}
		}
		return []cell{
			{allocsPut, "64 writers", put(64, 0)},
			{allocsPut, "512 writers", put(512, 0)},
			{allocsPut, "64 writers, 10,000 keys", put(64, 10_000)},
			{allocsDrain, peers.Outbox, drain(peers.Outbox)},
			{allocsDrain, peers.OutboxBatched, drain(peers.OutboxBatched)},
		}
	},
	measure: func(h *harness, c cell) (metrics, error) {
		if c.spec.Op == "drain" {
			return drainSuite.measure(h, c)
		}
		return run(h.ctx, c.spec)
	},
	columns: []column{{"allocations", "allocs", number, true}},
}
