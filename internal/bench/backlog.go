package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/bench/peers"
	"github.com/seed8107221f/outbox/sender"
)

var backlogSuite = suite{
	name:   "backlog",
	title:  "A backlog",
	intro:  "What a backlog of events of 512 bytes costs. *Cold*: the pages of the file were dropped from the cache (posix_fadvise, DONTNEED) before each Open. *Killed*: a process that had the file open got SIGKILL between two puts. *First*: from Open until the transport was called. *RSS* counts pages of the file that were read, which the system can take back; *heap* is what was live after a collection with the file open, above what was live before, and at its highest while the backlog was drained. The puts are those of one writer, and of 64 with and without keys. The drain is to a transport that costs nothing, in batches of 100, and takes with it what those puts added.",
	rounds: 3,
	cells: func(s scale) []cell {
		var cells []cell
		sizes := pick(s, []int{0, 10_000, 1_000_000}, []int{0, 5_000})
		if s.big {
			sizes = append(sizes, 10_000_000)
		}
		for _, n := range sizes {
			cells = append(cells, cell{"", pendingRow(n), spec{Peer: peers.OutboxBatched, Size: 512, Items: n, Writers: 64, Duration: s.duration / 2}})
		}
		return cells
	},
	measure: measureBacklog,
	columns: []column{
		{"open ms", "open warm", millis, true},
		{"open ms, cold", "open", millis, true},
		{"open ms, killed, cold", "open killed", millis, true},
		{"first ms, cold", "first", millis, false},
		{"RSS MiB", "rss", mib, false},
		{"heap MiB", "heap open", mib, true},
		{"heap MiB, draining", "heap drain", mib, true},
		{"put p50 ms", "p50", millis, true},
		{"64 writers, put/s", "unkeyed", number, false},
		{"with keys, put/s", "keyed", number, false},
		{"drain/s", "rate", number, true},
		{"file MiB", "file", mib, false},
		{"drained, MiB", "file drained", mib, false},
	},
}

// pendingRow names the row of a backlog of n.
func pendingRow(n int) string { return counted(n, "event") + " pending" }

// measureBacklog makes a backlog and has one process after the other look at it.
func measureBacklog(h *harness, c cell) (metrics, error) {
	b := backlog{h: h, spec: c.spec, path: peers.OutboxPath(c.spec.Dir), found: metrics{}}
	b.step("fill", nil)
	b.size("file")
	b.step("first", map[string]string{"first": "first"})
	b.step("look", map[string]string{"open": "open", "rss": "rss", "heap": "heap open", "p50": "p50", "unkeyed": "unkeyed", "keyed": "keyed"})
	b.step("reopen", map[string]string{"open": "open warm"})
	b.kill()
	b.step("first", map[string]string{"open": "open killed"})
	if c.spec.Items > 0 {
		b.step("drainlive", map[string]string{"rate": "rate", "heap": "heap drain"})
		b.size("file drained")
	}
	b.found["heap"] = max(b.found["heap open"], b.found["heap drain"])
	return b.found, b.err
}

// A backlog is a file that several processes look at in turn. After an error nothing more happens.
type backlog struct {
	h     *harness
	spec  spec
	path  string
	found metrics
	err   error
}

// step runs an operation in a process of its own, and keeps the named metrics under their new
// names. The file is cold, except for reopen.
func (b *backlog) step(op string, names map[string]string) {
	if b.err == nil && op != "fill" && op != "reopen" {
		b.err = evict(b.path)
	}
	if b.err != nil {
		return
	}
	s := b.spec
	s.Op = op
	var m metrics
	m, b.err = run(b.h.ctx, s)
	for from, to := range names {
		if x, ok := m[from]; ok {
			b.found[to] = x
		}
	}
}

func (b *backlog) size(name string) {
	if b.err != nil {
		return
	}
	var info os.FileInfo
	if info, b.err = os.Stat(b.path); b.err == nil {
		b.found[name] = float64(info.Size())
	}
}

func (b *backlog) kill() {
	if b.err == nil {
		b.err = kill(b.h.ctx, b.spec)
	}
}

// kill has a process put into the file, and kills it while it does.
func kill(ctx context.Context, s spec) error {
	s.Op = "victim"
	cmd, stderr, err := child(ctx, s)
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		err = fmt.Errorf("the process to be killed: %w: %s", err, stderr)
	}
	err = errors.Join(err, cmd.Process.Kill())
	go io.Copy(io.Discard, out)
	cmd.Wait() // it was killed
	return err
}

// victimOp puts until it is killed, and says so once it has begun.
func victimOp(s spec) (metrics, error) {
	q, err := openPeer(s)
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		if err := q.Put(context.Background(), "", []byte("{}")); err != nil {
			return nil, err
		}
		if i == 100 {
			fmt.Println("begun")
		}
	}
}

// openTimed opens the outbox of s and returns how long that took and the heap live before.
func openTimed(s spec, t sender.Transport) (*outbox.Outbox, metrics, error) {
	before := live()
	began := time.Now()
	b, err := outbox.Open(peers.OutboxPath(s.Dir), t, nil)
	return b, metrics{"open": time.Since(began).Seconds(), "heap before": before}, err
}

// reopenOp opens and closes the outbox.
func reopenOp(s spec) (metrics, error) {
	b, m, err := openTimed(s, nil)
	if err != nil {
		return nil, err
	}
	return m, b.Close()
}

// firstOp opens the outbox and measures until its transport is called; of an empty one, until a put
// has it called. What is sent is not delivered: the backlog stays as it is.
func firstOp(s spec) (metrics, error) {
	called := make(chan struct{}, 1)
	began := time.Now()
	b, m, err := openTimed(s, sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
		select {
		case called <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	if err != nil {
		return nil, err
	}
	if s.Items > 0 {
		<-called
		m["first"] = time.Since(began).Seconds()
	}
	return m, b.Close()
}

// lookOp measures what an open backlog costs, and puts beside it.
func lookOp(s spec) (metrics, error) {
	b, m, err := openTimed(s, nil)
	if err != nil {
		return nil, err
	}
	q := peers.Put(b)
	one := s
	one.Writers = 1
	alone, err := measurePut(one, q)
	if err != nil {
		return nil, err
	}
	unkeyed, err := measurePut(s, q)
	if err != nil {
		return nil, err
	}
	s.Keys = 10_000
	withKeys, err := measurePut(s, q)
	if err != nil {
		return nil, err
	}
	m["p50"], m["unkeyed"], m["keyed"] = alone["p50"], unkeyed["rate"], withKeys["rate"]
	m["rss"], m["anon"] = resident()
	m["heap"] = live() - m["heap before"]
	return m, b.Close()
}

// drainLiveOp drains everything in batches, and looks at the heap while it does.
func drainLiveOp(s spec) (metrics, error) {
	b, m, err := openTimed(s, peers.FreeBatch{})
	if err != nil {
		return nil, err
	}
	stop, watched := make(chan struct{}), make(chan float64)
	go func() {
		highest := 0.0
		for {
			select {
			case <-stop:
				watched <- highest
				return
			case <-time.After(s.Duration):
				highest = max(highest, live())
			}
		}
	}()
	began, pending := time.Now(), b.Stats().Pending
	err = b.Flush(context.Background())
	m["rate"] = float64(pending) / time.Since(began).Seconds()
	close(stop)
	if highest := <-watched; highest > 0 {
		m["heap"] = highest - m["heap before"]
	}
	return m, errors.Join(err, b.Close())
}
