package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

const (
	paceStraight = "no jitter"
	paceJitter   = "0 to 50 ms of jitter"
	paceLimit    = 100
)

var paceSuite = suite{
	name:   "pace",
	title:  "Pace",
	intro:  "`limiter.Within(100, time.Second)` with more than enough to send and 64 requests in flight. The receiver counts what arrives: the fullest second, wherever it begins, and how many come on average, after the first second. *Longest stall*: how much later than asked for a sleep of 1 ms ended, meanwhile; what a busy machine holds up for more than 100 ms is beyond what the limiter allows for.",
	rounds: 1,
	cells: func(s scale) []cell {
		of := func(name string, jitter int) cell {
			return cell{"", name, spec{Op: "pace", Peer: peers.Outbox, Size: 512, Items: jitter, Duration: pick(s, 15*s.duration, 1200*time.Millisecond)}}
		}
		return []cell{of(paceStraight, 0), of(paceJitter, 50)}
	},
	columns: []column{
		{"fullest second", "fullest", grouped, true},
		{"a second, on average", "average", number, false},
		{"of the limit", "share", percent, false},
		{"longest stall ms", "stall", millis, false},
	},
}

// paceOp delivers for s.Duration. Items is the longest a request is on its way, in milliseconds.
func paceOp(s spec) (metrics, error) {
	backlog := s
	backlog.Items = 2 * paceLimit * int(1+s.Duration/time.Second)
	if err := fillOutbox(s.Dir, backlog, time.Time{}); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var arrivals []time.Time
	b, err := outbox.Open(peers.OutboxPath(s.Dir), sender.TransportFunc(func(context.Context, sender.Item) error {
		if s.Items > 0 {
			time.Sleep(rand.N(time.Duration(s.Items) * time.Millisecond))
		}
		mu.Lock()
		defer mu.Unlock()
		arrivals = append(arrivals, time.Now())
		return nil
	}), &outbox.Options{Limiter: limiter.Within(paceLimit, time.Second), Sender: sender.Options{Concurrency: 64}})
	if err != nil {
		return nil, err
	}
	stall := longestStall(s.Duration)
	if err := b.Close(); err != nil {
		return nil, err
	}
	if len(arrivals) < 2 {
		return nil, errors.New("pace: nothing arrived")
	}
	slices.SortFunc(arrivals, time.Time.Compare)
	steady := arrivals[0].Add(time.Second)
	first, _ := slices.BinarySearchFunc(arrivals, steady, time.Time.Compare)
	last := arrivals[len(arrivals)-1]
	average := float64(len(arrivals)-1-first) / last.Sub(arrivals[first]).Seconds()
	return metrics{"fullest": float64(fullest(arrivals, time.Second)), "average": average, "share": average / paceLimit, "stall": stall.Seconds()}, nil
}

// longestStall sleeps for so long, a millisecond at a time, and returns by how much a sleep was too
// long.
func longestStall(d time.Duration) (longest time.Duration) {
	for last, end := time.Now(), time.Now().Add(d); last.Before(end); {
		time.Sleep(time.Millisecond)
		now := time.Now()
		longest = max(longest, now.Sub(last)-time.Millisecond)
		last = now
	}
	return longest
}

// fullest returns the most of the sorted instants that lie in any window of that length.
func fullest(sorted []time.Time, window time.Duration) (most int) {
	from := 0
	for to := range sorted {
		for sorted[to].Sub(sorted[from]) >= window {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}
