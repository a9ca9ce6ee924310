// Command fleet shows one rate limit for several processes. It starts a Redis, a strict receiver
// and a number of sending processes, each with an outbox of its own. While they send it kills
// senders and Redis, and starts them again. In the end it prints what the receiver saw:
//
//	go -C examples/fleet run .
//
// The command needs redis-server (Debian: apt-get install redis-server). It ends with 1 if an event
// was lost, if a key was out of order, or if the receiver had to refuse a request for its rate.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	processes = flag.Int("processes", 6, "how many send")
	limit     = flag.Int("limit", 100, "requests that the receiver allows in any second")
	duration  = flag.Duration("for", 15*time.Second, "how long events are put and processes are killed")
	sendTo    = flag.String("send", "", "used by the command itself: be a sender to this URL")
	redisAddr = flag.String("redis", "", "used by the command itself: address of the Redis of a sender")
	file      = flag.String("db", "", "used by the command itself: file of a sender")
	origin    = flag.String("origin", "", "used by the command itself: name of a sender")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if *processes < 1 || *limit < 1 || *duration <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if *sendTo != "" {
		err = send()
	} else {
		err = run(os.Stdout)
	}
	if err != nil {
		log.Fatalln("fleet:", err)
	}
}

// run is the whole show. It returns an error if a promise was broken.
func run(out io.Writer) error {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := newReceiver(*limit)
	server := httptest.NewServer(r)
	defer server.Close()
	db, err := newRedis(dir)
	if err != nil {
		return err
	}
	defer func() { db.stop() }()

	acked := &ledger{ids: make(map[string]bool)}
	senders := make([]*process, *processes)
	start := func(i int) (err error) {
		name := fmt.Sprintf("p%d", i)
		senders[i], err = startSender(acked, "-send", server.URL, "-redis", db.addr, "-db", filepath.Join(dir, name+".db"),
			"-origin", name, "-limit", fmt.Sprint(*limit))
		return err
	}
	for i := range senders {
		if err := start(i); err != nil {
			return err
		}
		defer func() { senders[i].kill() }()
	}

	kills, end := 0, time.Now().Add(*duration)
	for redisAt := time.Now().Add(*duration / 2); time.Now().Before(end); {
		time.Sleep(min(time.Second, time.Until(end)))
		i := rand.N(len(senders))
		senders[i].kill()
		if err := start(i); err != nil {
			return err
		}
		kills++
		if !redisAt.IsZero() && time.Now().After(redisAt) {
			redisAt = time.Time{}
			fmt.Fprintln(out, "Redis is killed, and starts again without its data")
			db.stop()
			if err := db.start(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "%d senders were killed; all deliver what is left\n", kills)
	for _, s := range senders {
		s.in.Close() // no more puts
	}
	for _, s := range senders {
		if err := s.wait(); err != nil {
			return fmt.Errorf("a sender: %w", err)
		}
	}
	v := r.verdict()
	lost := acked.missing(r.seen)
	fmt.Fprintf(out, "put=%d received=%d duplicates=%d lost=%d order_violations=%d refused_for_rate=%d fullest_second=%d\n",
		len(acked.ids), v.unique, v.received-v.unique, lost, v.outOfOrder, v.refused, v.fullest)
	if lost+v.outOfOrder+v.refused > 0 {
		return errors.New("a promise was broken")
	}
	return nil
}

// A ledger holds the events that senders said were put.
type ledger struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (l *ledger) missing(seen map[string]bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.ids {
		if !seen[id] {
			n++
		}
	}
	return n
}

// A process is a sender. Its standard output has one line for each event that was put.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	read sync.WaitGroup
	once sync.Once
	err  error
}

func startSender(acked *ledger, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			acked.mu.Lock()
			acked.ids[lines.Text()] = true
			acked.mu.Unlock()
		}
	})
	return p, nil
}

func (p *process) wait() error {
	p.once.Do(func() {
		p.read.Wait()
		p.err = p.cmd.Wait()
	})
	return p.err
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.wait()
}

// A redisServer is a Redis that keeps nothing on disk.
type redisServer struct {
	addr, port, dir string
	cmd             *exec.Cmd
}

func newRedis(dir string) (*redisServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &redisServer{addr: l.Addr().String(), dir: dir}
	_, s.port, _ = net.SplitHostPort(s.addr)
	l.Close()
	return s, s.start()
}

func (s *redisServer) start() error {
	s.cmd = exec.Command("redis-server", "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--dir", s.dir)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: s.addr})
	defer c.Close()
	for range 200 {
		if c.Ping(context.Background()).Err() == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("redis-server does not answer")
}

func (s *redisServer) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}
