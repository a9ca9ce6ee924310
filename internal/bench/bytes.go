package main

import (
	"context"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/limiter"
)

const (
	bytesAck  = "an acknowledgement"
	bytesBoth = "a lone Put and its acknowledgement"
	perSecond = 80
)

var bytesSuite = suite{
	name:   "bytes",
	title:  "Bytes at 80 events a second",
	intro:  "What is given to write calls for each event of 512 bytes when 80 a second are delivered from a backlog, and when 80 a second are put and delivered at once.",
	rounds: 3,
	cells: func(s scale) []cell {
		of := func(name string) cell {
			return cell{"", name, spec{Op: "bytes", Peer: peers.Outbox, Size: 512, Variant: name, Duration: pick(s, 5*s.duration, 500*time.Millisecond)}}
		}
		return []cell{of(bytesAck), of(bytesBoth)}
	},
	columns: []column{{"KiB", "bytes", kib, true}, {"events", "items", grouped, false}},
}

func bytesOp(s spec) (metrics, error) {
	var pace *limiter.Limiter
	if s.Variant == bytesAck {
		pace = &limiter.Limiter{PerSecond: perSecond}
		s.Items = 2 * perSecond * int(1+s.Duration/time.Second)
		if err := fillOutbox(s.Dir, s, time.Time{}); err != nil {
			return nil, err
		}
	}
	o := &outbox.Options{}
	if pace != nil {
		o.Limiter = pace
	}
	b, err := outbox.Open(peers.OutboxPath(s.Dir), peers.Free{}, o)
	if err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond) // past what opening writes
	before, from := readUsage(), b.Stats().Delivered
	if s.Variant == bytesAck {
		time.Sleep(s.Duration)
	} else if err := spaced(s.Duration, perSecond, func() error {
		_, err := b.Put(context.Background(), outbox.Event{Kind: "bench", Payload: payloads(s.Size)[0]})
		return err
	}); err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond) // the last acknowledgements have been written
	m := readUsage().since(before, int(b.Stats().Delivered-from))
	return m, b.Close()
}

// spaced calls fn at a steady pace for so long; late calls follow at once.
func spaced(d time.Duration, perSecond float64, fn func() error) error {
	began := time.Now()
	for n := 0; ; n++ {
		at := time.Duration(float64(n) / perSecond * float64(time.Second))
		if at >= d {
			return nil
		}
		time.Sleep(time.Until(began.Add(at)))
		if err := fn(); err != nil {
			return err
		}
	}
}
