package httpsend

import (
	"bytes"
	"compress/gzip"
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

// maxAnswer is how many bytes of an answer are read. If an answer is longer, its connection is
// closed.
const maxAnswer = 64 << 10

// NewClient returns a client for one or a few destinations and many requests at a time. It
//
//   - follows no redirect: a redirect can carry credentials to another host, or turn a POST into a
//     GET;
//   - ends a call after 30 seconds in all, or earlier with its context;
//   - waits 10 seconds for a connection, 10 for TLS, 30 for the header of an answer;
//   - accepts at most 64 KiB of header, and asks for no compressed body;
//   - keeps up to 128 idle connections to each host for 90 seconds;
//   - asks a silent HTTP/2 connection for a sign of life after 5 seconds, and closes it if none
//     comes within 3: a box on the way may have forgotten the connection;
//   - uses the proxy settings of the environment.
//
// The caller may change the client before its first use. For calls that take longer, raise Timeout
// and ResponseHeaderTimeout, and set sender.Options.Timeout above both.
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
			DisableCompression:     true, // otherwise a few bytes could unpack to gigabytes
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
			OnProxyConnectResponse: judgeProxy,
		},
	}
}

// young is how long a connection of [Young] may be idle. Servers close idle connections, some after
// two seconds.
const young = 250 * time.Millisecond

// Young returns a client for requests that must not be sent twice, as with
// sender.Options.AtMostOnce. A request on an idle connection that the other end is just closing
// gets no answer, and nobody knows whether it was carried out. So Young is c, except that its
// connections are its own and are closed after a quarter of a second without a request. Where many
// requests are sent, connections never become that old; where few are, each makes its own.
//
// nil means NewClient. A client whose RoundTripper is not an *http.Transport is copied as it is:
// set IdleConnTimeout below it.
func Young(c *http.Client) *http.Client {
	if c == nil {
		c = NewClient()
	}
	y := *c
	if t, ok := or(y.Transport).(*http.Transport); ok {
		t = t.Clone()
		t.IdleConnTimeout = young
		y.Transport = t
	}
	return &y
}

// judgeProxy describes the answer of a proxy that refuses a connection. The text of the proxy is
// left out: it may contain the credentials that the proxy was sent.
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
	Body   []byte // at most 64 KiB, unpacked if it came with gzip
	Cut    bool   // Body is not complete: it was longer, or broken, or the connection broke
}

// Do sends a request once. It returns the answer and what it means: nil, or an error as in
// [Verdict]. Answer and error may both be set; the answer is nil if none arrived. A nil c means a
// shared client made by [NewClient].
//
// Without an answer the error is sender.Unavailable if there was no connection: the name does not
// resolve, the connection was refused or timed out, TLS failed. Any other error, and any error
// after the request's context has ended, has no mark: the destination may have carried out the
// request. Errors name method, host, path and status, and nothing that may be secret.
//
// A body that breaks off does not change the verdict, which depends on the status. No redirect is
// followed, even if c would follow it. When an idle connection breaks, net/http sends a request
// again if nothing of it was written, and may repeat a GET, HEAD, OPTIONS or TRACE. Nothing else is
// sent twice.
func Do(c *http.Client, req *http.Request) (*Answer, error) {
	var l link
	out := req.WithContext(l.watch(req.Context()))
	defer l.end(nil)
	out.Header = unrepeated(req.Header)
	resp, err := Ask(c, out)
	if err != nil {
		return nil, unanswered(req, err, &l)
	}
	defer resp.Body.Close()
	e := status(req, resp, time.Now())
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// What follows is the raw connection and no body. No context would end a read of it.
		return &Answer{Status: resp.StatusCode, Header: resp.Header, Cut: true}, judge(e)
	}
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	a.Body, a.Cut = read(resp.Body)
	if packed := resp.Header.Get("Content-Encoding"); strings.EqualFold(packed, "gzip") || strings.EqualFold(packed, "x-gzip") {
		a.unpack()
	}
	return a, judge(e)
}

// read returns the first bytes, and whether there are more or an error came after them.
func read(r io.Reader) (body []byte, cut bool) {
	body, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	return body[:min(len(body), maxAnswer)], err != nil || len(body) > maxAnswer
}

// unpack replaces a body that a proxy has packed though nobody asked for it. What is no gzip stays
// as it is.
func (a *Answer) unpack() {
	packed, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		return
	}
	var cut bool
	a.Body, cut = read(packed)
	a.Cut = a.Cut || cut
	a.Header.Del("Content-Encoding")
	a.Header.Del("Content-Length")
}

// Ask sends a request once, as http.Client.Do does, and follows no redirect, even if c would follow
// it. The caller closes the body. A nil c means a shared client made by [NewClient]. For the
// meaning of the answer see [Verdict].
func Ask(c *http.Client, req *http.Request) (*http.Response, error) {
	if c == nil {
		c = shared
	}
	k := &keeper{next: or(c.Transport)}
	once := *c
	once.Transport, once.CheckRedirect = k, stay
	resp, err := once.Do(req)
	if err == nil && k.location != nil {
		resp.Header["Location"] = k.location
	}
	return resp, err
}

// A keeper hides the target of a redirect from http.Client, which makes an error of an answer whose
// target it cannot read.
type keeper struct {
	next     http.RoundTripper
	location []string
}

func (k *keeper) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := k.next.RoundTrip(req)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header != nil {
		k.location = resp.Header["Location"]
		delete(resp.Header, "Location")
	}
	return resp, err
}

// unrepeated spells the names of two fields in lower case. With their usual spelling net/http
// repeats a request when an idle connection breaks, and the limiter would not know of it.
func unrepeated(h http.Header) http.Header {
	for _, name := range idempotencyKeys {
		if values, ok := h[name]; ok {
			h = h.Clone() // h belongs to the caller
			delete(h, name)
			h[strings.ToLower(name)] = values
		}
	}
	return h
}

// shared is the client for callers that set none.
var shared = NewClient()

// A link records how far a request got. Errors do not tell: TLS alone fails with a dozen types.
// http.Transport calls its hooks from several goroutines.
type link struct {
	wanted, got atomic.Bool
	http2       atomic.Bool             // the last connection speaks HTTP/2
	written     atomic.Bool             // the header was written, by HTTP/2
	repeated    atomic.Bool             // it was about to be written again
	end         context.CancelCauseFunc // ends the context of the request
}

// errRepeated: HTTP/2 can report that a request was not carried out (GOAWAY, REFUSED_STREAM,
// PROTOCOL_ERROR). net/http then sends it again, sometimes without end and without a pause, and the
// limiter would not know of it.
var errRepeated = errors.New("the destination wants the request again, on another connection or stream of HTTP/2")

// watch returns a context under which http.Transport reports to l. The context ends before a
// request that was written by HTTP/2 is written again.
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

// missing reports that a connection was wanted and none was made. It is false if the RoundTripper
// does not report: then nothing is known.
func (l *link) missing() bool { return l.wanted.Load() && !l.got.Load() }
