package httpsend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer is how much of an answer is read, in bytes. A longer one costs the connection.
const maxAnswer = 64 << 10

// NewClient returns a client for one destination or a few, fit for many requests at a time. It
//
//   - follows no redirect, which would carry credentials to another host or turn a POST into a GET;
//   - ends a call after 30 seconds in all, unless its context ends it sooner;
//   - waits 10 seconds for a connection, 10 for TLS, 30 for the header of an answer;
//   - takes at most 64 KiB of header, and never unpacks what it did not ask to be packed;
//   - keeps up to 128 idle connections to a host, for 90 seconds, so that they are used again;
//   - honours the proxy settings of the environment.
//
// The caller may change it before its first use. Calls that may take longer need a longer Timeout and
// ResponseHeaderTimeout, and sender.Options.Timeout above both.
func NewClient() *http.Client {
	return &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: stay,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    128,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true, // or a few bytes could unpack to gigabytes
			OnProxyConnectResponse: judgeProxy,
		},
	}
}

// judgeProxy says in our words what a proxy that lets nothing through has answered: its own may be the
// credentials that it was sent.
func judgeProxy(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("the proxy answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// An Answer is what a destination answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most 64 KiB
	Cut    bool   // there was more of Body, or it broke off
}

// Do sends a request once and returns the answer with what it means: nil, or an error as [Verdict]
// says. The answer may come with an error; it is nil when none came.
//
// Without an answer the error is sender.Unavailable if there was no connection: a name that does not
// resolve, a connection refused or not made in time, TLS that failed. Any other, and any after the
// request's context has ended, has no mark: the request may have been carried out. Errors name
// method, host, path and status, and nothing that may be secret.
//
// A body that breaks off does not change the verdict: the status has said it. No redirect is
// followed, whatever c says. When an idle connection breaks, net/http sends what had not been written
// anew, and may repeat a GET, HEAD, OPTIONS or TRACE; nothing else is sent twice. A nil c is a client
// as of [NewClient] which all share.
func Do(c *http.Client, req *http.Request) (*Answer, error) {
	if c == nil {
		c = shared
	}
	once := *c
	once.CheckRedirect = stay

	var l link
	out := req.WithContext(l.watch(req.Context()))
	defer l.end(nil)
	out.Header = unrepeated(req.Header)
	resp, err := once.Do(out)
	if err != nil {
		return nil, unanswered(req, err, &l)
	}
	defer resp.Body.Close()
	e := status(req, resp, time.Now())
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// What follows is no body but the connection, and no context ends a read of it.
		return &Answer{Status: resp.StatusCode, Header: resp.Header, Cut: true}, judge(e)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	a := &Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Cut: err != nil}
	if len(body) > maxAnswer {
		a.Body, a.Cut = body[:maxAnswer], true
	}
	return a, judge(e)
}

// unrepeated spells the names of two fields in lower case. Spelled as usual they make net/http repeat
// a request by itself when an idle connection breaks, which the limiter would not know of.
func unrepeated(h http.Header) http.Header {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := h[name]; ok {
			h = h.Clone() // it is the caller's
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
	return h
}

// shared serves those who bring no client.
var shared = NewClient()

// A link tells how far a request got. No error tells as much: TLS fails in a dozen types.
type link struct {
	wanted, got atomic.Bool
	http2       atomic.Bool             // the connection that it got last
	written     atomic.Bool             // the header, by HTTP/2
	repeated    atomic.Bool             // it would have been written again
	end         context.CancelCauseFunc // of the context it runs under
}

// errRepeated: HTTP/2 has ways to say that a request was not carried out (GOAWAY, REFUSED_STREAM,
// PROTOCOL_ERROR), and net/http then sends it again, some without end and without a pause, which the
// limiter would not know of.
var errRepeated = errors.New("the destination wants the request again, on another connection or stream of HTTP/2")

// watch returns a context under which http.Transport reports to l, and which ends before a request that was
// written by HTTP/2 is written again.
func (l *link) watch(ctx context.Context) context.Context {
	ctx, l.end = context.WithCancelCause(ctx)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			l.wanted.Store(true)
			l.once()
		},
		GotConn: func(info httptrace.GotConnInfo) {
			l.got.Store(true)
			secure, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
			l.http2.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
			l.once()
		},
		WroteHeaders: func() {
			if l.http2.Load() { // before that it is only buffered
				l.written.Store(true)
			}
		},
	})
}

// once ends a request that is about to be sent a second time.
func (l *link) once() {
	if l.written.Load() {
		l.repeated.Store(true)
		l.end(errRepeated)
	}
}

// missing reports that a connection was looked for in vain. It is false below a RoundTripper that
// does not report, of which nothing is known.
func (l *link) missing() bool { return l.wanted.Load() && !l.got.Load() }
