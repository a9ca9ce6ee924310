package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/sender"
)

const (
	wakeGroup    = "From Put's return to the transport"
	idleGroup    = "CPU of a process that has nothing to do"
	idleEmpty    = "nothing pending"
	idleTomorrow = "100,000 events for tomorrow"

	tomorrow = "tomorrow" // the variant of a fill whose events are not due
)

var wakeSuite = suite{
	name:   "wake",
	title:  "Awake and idle",
	intro:  "A put into an idle outbox, every 5 to 15 ms: the time from the return of Put until the transport is called; 0 when it was called earlier. Below, a process that only has an outbox open: user and system time, in percent of one core.",
	rounds: 3,
	cells: func(s scale) []cell {
		idle := func(name string, n int) cell {
			return cell{idleGroup, name, spec{Op: "idle", Peer: peers.Outbox, Size: 512, Items: n, Variant: tomorrow, Duration: pick(s, 10*s.duration, 200*time.Millisecond)}}
		}
		return []cell{
			{wakeGroup, peers.Outbox, spec{Op: "wake", Peer: peers.Outbox, Size: 512, Items: pick(s, 300, 30)}},
			idle(idleEmpty, 0),
			idle(idleTomorrow, pick(s, 100_000, 1_000)),
		}
	},
	measure: func(h *harness, c cell) (metrics, error) {
		if c.spec.Op == "idle" && c.spec.Items > 0 {
			fill := c.spec
			fill.Op = "fill"
			if _, err := run(h.ctx, fill); err != nil {
				return nil, err
			}
		}
		return run(h.ctx, c.spec)
	},
	columns: []column{
		{"p50 ms", "p50", millis, true},
		{"p99 ms", "p99", millis, true},
		{"CPU", "share", percent, true},
	},
}

// wakeOp puts s.Items events into an idle outbox, one at a time.
func wakeOp(s spec) (m metrics, err error) {
	called := make(chan time.Time, 1)
	b, err := outbox.Open(peers.OutboxPath(s.Dir), sender.TransportFunc(func(context.Context, sender.Item) error {
		called <- time.Now()
		return nil
	}), nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	var waits []time.Duration
	payload := payloads(s.Size)[0]
	for range s.Items {
		time.Sleep(5*time.Millisecond + rand.N(10*time.Millisecond))
		if _, err := b.Put(context.Background(), outbox.Event{Kind: "bench", Payload: payload}); err != nil {
			return nil, err
		}
		put := time.Now()
		waits = append(waits, max(0, (<-called).Sub(put)))
	}
	slices.Sort(waits)
	return metrics{"p50": percentile(waits, 0.5), "p99": percentile(waits, 0.99)}, nil
}

// idleOp opens the outbox, lets all settle, and then measures what nothing costs.
func idleOp(s spec) (metrics, error) {
	b, err := outbox.Open(peers.OutboxPath(s.Dir), peers.Free{}, nil)
	if err != nil {
		return nil, err
	}
	time.Sleep(min(time.Second, s.Duration))
	before, began := cpuTime(), time.Now()
	time.Sleep(s.Duration)
	used, took := cpuTime()-before, time.Since(began).Seconds()
	return metrics{"share": used / took}, b.Close()
}
