package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

var syncsSuite = suite{
	name:   "syncs",
	title:  "Who syncs",
	intro:  "Counted by strace, in runs of their own, of which nothing else is measured. *On disk at return*: the share of the puts of a lone writer of which everything that was written to a file had been synced when the call returned.",
	rounds: 1,
	cells: func(s scale) []cell {
		if _, err := exec.LookPath("strace"); err != nil {
			return nil
		}
		var cells []cell
		for _, writers := range pick(s, []int{1, 8, 64, 512}, []int{1}) {
			for _, p := range peers.All() {
				cells = append(cells, cell{counted(writers, "writer"), p.Name, spec{
					Op: "trace", Peer: p.Name, Writers: writers, Size: 512, Items: pick(s, max(200, 10*writers), 10),
				}})
			}
		}
		return cells
	},
	measure: func(h *harness, c cell) (metrics, error) {
		log := filepath.Join(c.spec.Dir, "strace")
		c.spec.Dir = filepath.Join(c.spec.Dir, "data")
		if err := os.Mkdir(c.spec.Dir, 0o700); err != nil {
			return nil, err
		}
		m, err := run(h.ctx, c.spec, "strace", "-f", "-y", "-qq", "-s", "0", "-o", log,
			"-e", "trace=fsync,fdatasync,msync,write,pwrite64,writev,pwritev,getppid", "--")
		if err != nil {
			return nil, err
		}
		f, err := os.Open(log)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		t, err := readTrace(f, c.spec.Dir)
		if err != nil {
			return nil, err
		}
		m["syncs"] = float64(t.syncs) / m["items"]
		m["durable"] = math.NaN()
		if c.spec.Writers == 1 {
			m["durable"] = float64(t.durable) / float64(max(1, t.marks-1))
		}
		h.keepSyncs(c.spec, m)
		return m, nil
	},
	columns: []column{
		{"items", "items", grouped, false},
		{"syncs/item", "syncs", number, false},
		{"on disk at return", "durable", yesShare, false},
	},
}

// traceOp puts s.Items items and leaves a mark before the first and after the last; a lone writer
// leaves one after each.
func traceOp(s spec) (m metrics, err error) {
	q, err := openPeer(s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	for range 20 { // files are made, and consumers that take what they will never give back have it
		if err := q.Put(context.Background(), "", []byte("{}")); err != nil {
			return nil, err
		}
	}
	time.Sleep(100 * time.Millisecond) // what follows a put by itself has happened
	l := newLoad(s)
	mark()
	n, err := l.while(func(done int) bool { return done < s.Items/s.Writers }, func(key string, payload []byte) error {
		err := q.Put(context.Background(), key, payload)
		if s.Writers == 1 {
			mark()
		}
		return err
	})
	if s.Writers > 1 {
		mark()
	}
	return metrics{"items": float64(n)}, err
}

// keepSyncs remembers what was counted, for addSyncs.
func (h *harness) keepSyncs(s spec, m metrics) {
	h.syncs[fmt.Sprint(s.Peer, s.Writers)] = m["syncs"]
	if s.Writers == 1 {
		h.durable[s.Peer] = m["durable"]
	}
}

// addSyncs adds what was counted for the same peer and number of writers.
func (h *harness) addSyncs(m metrics, s spec) {
	if n, ok := h.syncs[fmt.Sprint(s.Peer, s.Writers)]; ok {
		m["syncs"] = n
	}
	if share, ok := h.durable[s.Peer]; ok {
		m["durable"] = share
	}
}
