package outboxtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// Guard makes t fail, and the dial with it, when anything dials another machine through
// http.DefaultTransport or one of also, until t has ended. Addresses of this machine and
// "localhost" are dialled as before; proxies are not used.
//
// Guard changes the transports in place. It is for tests that do not run in parallel with others,
// and to be called before the code under test copies a transport. DialTLS, which is deprecated,
// escapes it.
func Guard(t testing.TB, also ...*http.Transport) {
	t.Helper()
	transports := also
	if def, ok := http.DefaultTransport.(*http.Transport); ok {
		transports = append([]*http.Transport{def}, also...)
	}
	for _, tr := range transports {
		dial, dialTLS, proxy := tr.DialContext, tr.DialTLSContext, tr.Proxy
		tr.CloseIdleConnections() // or a connection made before would be used again
		tr.Proxy = nil
		tr.DialContext = guarded(t, dial)
		if dialTLS != nil {
			tr.DialTLSContext = guarded(t, dialTLS)
		}
		t.Cleanup(func() {
			tr.CloseIdleConnections()
			tr.DialContext, tr.DialTLSContext, tr.Proxy = dial, dialTLS, proxy
		})
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

func guarded(t testing.TB, dial dialFunc) dialFunc {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
			return dial(ctx, network, addr)
		}
		err = fmt.Errorf("outboxtest: dial %s: a guarded test must not leave this machine", addr)
		t.Error(err)
		return nil, err
	}
}
