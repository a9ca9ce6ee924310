package outboxtest_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/seed8107221f/outbox/outboxtest"
)

// A dial that nobody accepts ends with its context, or with the listener.
func TestPipeEnds(t *testing.T) {
	p := outboxtest.NewPipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.DialContext(ctx, "tcp", "track.customer.io:443"); !errors.Is(err, context.Canceled) {
		t.Errorf("the dial failed with %v", err)
	}
	p.Close()
	p.Close()
	if _, err := p.DialContext(t.Context(), "tcp", "track.customer.io:443"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the dial failed with %v", err)
	}
	if _, err := p.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept failed with %v", err)
	}
}
