package redislimiter_test

import (
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"
)

var quietLogger = slog.New(slog.DiscardHandler)

// A proxy stands between clients and a server, and can delay, cut and swallow what passes.
type proxy struct {
	addr string

	mu       sync.Mutex
	target   string
	late     time.Duration // of replies
	lateTo   time.Duration // of requests
	swallows bool
	conns    map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: l.Addr().String(), target: target, conns: make(map[net.Conn]bool)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); p.cut(); wg.Wait() })
	return p
}

func (p *proxy) serve(c net.Conn) {
	p.mu.Lock()
	target := p.target
	p.conns[c] = true
	p.mu.Unlock()
	defer c.Close()
	s, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		defer s.Close()
		for b := make([]byte, 4096); ; {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			p.mu.Lock()
			late := p.lateTo
			p.mu.Unlock()
			time.Sleep(late)
			if _, err := s.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	for b := make([]byte, 4096); ; {
		n, err := s.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		late, swallows := p.late, p.swallows
		p.mu.Unlock()
		time.Sleep(late)
		if swallows {
			continue
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func (p *proxy) to(addr string)                { p.set(func() { p.target = addr }); p.cut() }
func (p *proxy) delay(d time.Duration)         { p.set(func() { p.late = d }) }
func (p *proxy) delayRequests(d time.Duration) { p.set(func() { p.lateTo = d }) }

func (p *proxy) swallow(on bool) { p.set(func() { p.swallows = on }) }

// cut ends all connections.
func (p *proxy) cut() {
	p.set(func() {
		for c := range p.conns {
			c.Close()
		}
		clear(p.conns)
	})
}
