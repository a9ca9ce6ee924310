package outboxtest

import (
	"context"
	"net"
	"sync"
)

// A Pipe is a listener in memory, for servers in a bubble of testing/synctest: a goroutine that
// waits for the network would keep the bubble's clock from moving.
//
//	pipe := outboxtest.NewPipe()
//	s := &http.Server{Handler: app}
//	go s.Serve(pipe)
//	defer s.Close()
//	tr := &http.Transport{DialContext: pipe.DialContext}
//	defer tr.CloseIdleConnections()
//
// All methods are safe for concurrent use.
type Pipe struct {
	conns  chan net.Conn // from DialContext to Accept
	closed chan struct{} // closed by Close
	once   sync.Once     // guards the closing of closed
}

// NewPipe returns a Pipe that listens.
func NewPipe() *Pipe {
	return &Pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// DialContext connects to the caller of Accept, whatever the address. It fails with net.ErrClosed
// after Close, and with ctx.
func (p *Pipe) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	client, server := net.Pipe()
	var err error
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	client.Close()
	server.Close()
	return nil, &net.OpError{Op: "dial", Net: "pipe", Addr: p.Addr(), Err: err}
}

// Accept waits for the next connection; net.ErrClosed after Close.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and DialContext; connections stay. It returns nil.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr returns an address that has a meaning only to DialContext.
func (p *Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "outbox.test" }
