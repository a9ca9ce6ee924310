package outboxtest_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/outboxtest"
)

func TestGuard(t *testing.T) {
	// Nothing here reaches the network even if the guard fails: the dialer under it only says that it was asked.
	errDialled := errors.New("dialled")
	dial := func(context.Context, string, string) (net.Conn, error) { return nil, errDialled }
	proxy := func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }
	own := &http.Transport{DialContext: dial, DialTLSContext: dial, Proxy: proxy}
	def := http.DefaultTransport.(*http.Transport)
	before := def.DialContext
	def.DialContext = dial
	defer func() { def.DialContext = before }()

	for _, row := range []struct {
		url     string
		refused bool
	}{
		{"http://track.customer.io/api/v2/batch", true},
		{"https://api-eu.customer.io/v1/send/email", true},
		{"http://192.0.2.1:80/", true},
		{"http://127.0.0.1:8080/", false},
		{"https://[::1]:8080/", false},
		{"http://localhost:8080/", false},
	} {
		for name, tr := range map[string]*http.Transport{"default": def, "own": own} {
			t.Run(name+" "+row.url, func(t *testing.T) {
				f := &fake{TB: t}
				outboxtest.Guard(f, own)
				r, err := http.NewRequestWithContext(t.Context(), "GET", row.url, nil)
				if err != nil {
					t.Fatal(err)
				}
				_, err = tr.RoundTrip(r)
				f.end()
				if row.refused {
					if err == nil || !strings.Contains(err.Error(), "must not leave this machine") || errors.Is(err, errDialled) {
						t.Errorf("the request failed with %v", err)
					}
					if !strings.Contains(f.failed(), r.URL.Hostname()) {
						t.Errorf("the test was told %q", f.failed())
					}
					return
				}
				if !errors.Is(err, errDialled) || len(f.failed()) != 0 {
					t.Errorf("the request failed with %v, the test was told %q", err, f.failed())
				}
			})
		}
	}
	// After the test everything is as before.
	for _, tr := range []*http.Transport{def, own} {
		if _, err := tr.DialContext(t.Context(), "tcp", "track.customer.io:443"); !errors.Is(err, errDialled) {
			t.Errorf("the dialer was not put back: %v", err)
		}
	}
	if own.Proxy == nil || def.Proxy == nil {
		t.Error("the proxy was not put back")
	}
}
