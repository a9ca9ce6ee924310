// Package loopback keeps tests on this machine. Only tests import it.
package loopback

import (
	"context"
	"fmt"
	"net"
	"net/http"
)

// Only makes http.DefaultTransport and the default resolver refuse every address outside this
// machine, and ignore proxies. Call it from TestMain.
func Only() {
	local := func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("a test dialled %s %s, only loopback addresses are allowed", network, addr)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: local}
	http.DefaultTransport.(*http.Transport).DialContext = local
	http.DefaultTransport.(*http.Transport).Proxy = nil
}
