package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
)

// payloads returns 256 different documents of JSON of that size, which no compression shortens
// much.
func payloads(size int) [][]byte {
	const head, tail = `{"data":"`, `"}`
	random := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, 256)
	for i := range all {
		raw := make([]byte, size)
		for j := range raw {
			raw[j] = byte(random.Uint32())
		}
		text := base64.RawStdEncoding.EncodeToString(raw)
		all[i] = []byte(head + text[:size-len(head)-len(tail)] + tail)
	}
	return all
}

// keysOf returns n keys; one, the empty one, when n is 0.
func keysOf(n int) []string {
	if n == 0 {
		return []string{""}
	}
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("customer-", i)
	}
	return keys
}

// A load is a number of writers that put one item after the other.
type load struct {
	writers  int
	payloads [][]byte
	keys     []string
	times    [][]time.Duration // of each writer's puts
}

func newLoad(s spec) *load {
	l := &load{writers: s.Writers, payloads: payloads(s.Size), keys: keysOf(s.Keys), times: make([][]time.Duration, s.Writers)}
	for i := range l.times {
		l.times[i] = make([]time.Duration, 0, max(1<<12, 1<<17/s.Writers)) // so that measuring allocates nothing
	}
	return l
}

// run puts for so long and returns how many items it put. The writers use the keys in turn.
func (l *load) run(d time.Duration, put func(key string, payload []byte) error) (int, error) {
	end := time.Now().Add(d)
	return l.while(func(int) bool { return time.Now().Before(end) }, put)
}

// while puts as long as more says so to each writer, which tells how many it has put.
func (l *load) while(more func(done int) bool, put func(key string, payload []byte) error) (items int, err error) {
	var wg sync.WaitGroup
	failed := make(chan error, l.writers)
	for w := range l.writers {
		l.times[w] = l.times[w][:0]
		wg.Go(func() {
			for i := 0; more(i); i++ {
				began := time.Now()
				if err := put(l.keys[(w+i*l.writers)%len(l.keys)], l.payloads[(w+i)%len(l.payloads)]); err != nil {
					failed <- err
					return
				}
				l.times[w] = append(l.times[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	select {
	case err = <-failed:
	default:
	}
	for _, times := range l.times {
		items += len(times)
	}
	return items, err
}

// latencies adds the times of the last run to m.
func (l *load) latencies(m metrics) {
	all := slices.Concat(l.times...)
	slices.Sort(all)
	m["p50"], m["p99"], m["max"] = percentile(all, 0.5), percentile(all, 0.99), percentile(all, 1)
}

// fillOutbox puts items without a transport, 10,000 in a commit. notBefore is of all of them.
func fillOutbox(dir string, s spec, notBefore time.Time) error {
	b, err := outbox.Open(peers.OutboxPath(dir), nil, nil)
	if err != nil {
		return err
	}
	payloads, keys := payloads(s.Size), keysOf(s.Keys)
	events := make([]outbox.Event, 0, 10_000)
	for i := 0; i < s.Items && err == nil; {
		events = events[:0]
		for ; i < s.Items && len(events) < cap(events); i++ {
			events = append(events, outbox.Event{Kind: "bench", Key: keys[i%len(keys)], Payload: payloads[i%len(payloads)], NotBefore: notBefore})
		}
		_, err = b.PutAll(context.Background(), events...)
	}
	if err != nil {
		b.Close()
		return err
	}
	return b.Close()
}
