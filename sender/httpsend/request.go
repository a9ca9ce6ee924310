package httpsend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A stored request is an item. The payload is the body. The header of the item holds the request
// line, under names with a colon, and the header fields, whose names cannot have a colon. Fields
// keep the case of their names. The values of one field are joined by line feeds, which no value
// may contain.
const (
	keyVersion = ":version"
	keyMethod  = ":method"
	keyURL     = ":url"  // absolute, without userinfo and fragment
	keyHost    = ":host" // only if the Host differs from the host of the URL

	version = "1"
)

// credentials are never stored.
var credentials = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// perConnection are fields that belong to one connection, or that net/http sets itself.
var perConnection = []string{"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// strip returns a copy of req without body, credentials, and the fields of its connection. secret
// names more fields and query parameters to leave out.
func strip(req *http.Request, secret []string) *http.Request {
	is := func(names []string, name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	hidden := func(name string) bool { return is(credentials, name) || is(secret, name) }

	out := req.Clone(req.Context())
	out.Body, out.GetBody, out.ContentLength = nil, nil, 0
	out.Response = nil
	for name := range out.Header {
		if hidden(name) || is(perConnection, name) {
			delete(out.Header, name)
		}
	}
	out.URL.User = nil
	out.URL.Fragment, out.URL.RawFragment = "", ""
	out.URL.RawQuery = stripQuery(out.URL.RawQuery, hidden)
	return out
}

// stripQuery removes parameters. Servers split a query at & alone, or at ; too (HTML 4.01 section
// B.2.2). A name is hidden if it is one in either reading, and takes with it what belongs to its
// value in either reading.
func stripQuery(query string, hidden func(name string) bool) string {
	is := func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		return hidden(name)
	}
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		if is(part) {
			continue
		}
		secret := false
		parts := slices.DeleteFunc(strings.Split(part, ";"), func(p string) bool {
			secret = is(p) || secret && !strings.Contains(p, "=")
			return secret
		})
		kept = append(kept, strings.Join(parts, ";"))
	}
	return strings.Join(kept, "&")
}

// encode makes the header of an item from a stripped request. An error says that the request could
// not be sent later.
func encode(req *http.Request) (map[string]string, error) {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	h := map[string]string{keyVersion: version, keyMethod: method, keyURL: req.URL.String()}
	if req.Host != "" && req.Host != req.URL.Host {
		h[keyHost] = req.Host
	}
	for name, values := range req.Header {
		if len(values) == 0 {
			continue // net/http would not send it
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "\n") }) {
			return nil, fmt.Errorf("a value of the header %.64q is not valid", name)
		}
		h[name] = strings.Join(values, "\n")
	}
	back, err := decode(context.Background(), h, nil)
	if err != nil {
		return nil, err
	}
	if back.URL.Host != req.URL.Host || back.URL.RequestURI() != req.URL.RequestURI() || len(req.Trailer) > 0 {
		return nil, errors.New("a URL or a trailer that cannot be stored faithfully")
	}
	return h, nil
}

// decode makes a request from the header and the payload of an item. An unknown version is tried
// again later, after an upgrade. Any other error is permanent.
func decode(ctx context.Context, h map[string]string, body []byte) (*http.Request, error) {
	if v := h[keyVersion]; v != version {
		err := fmt.Errorf("a stored request of version %.64q, %q expected", v, version)
		if v == "" {
			return nil, sender.Permanent(err)
		}
		return nil, sender.Later(err, time.Hour)
	}
	if !token(h[keyMethod]) {
		return nil, sender.Permanent(fmt.Errorf("%.64q is not a method", h[keyMethod]))
	}
	u, err := url.Parse(h[keyURL])
	switch {
	case err != nil:
		return nil, sender.Permanent(errors.New("the URL: " + reason(err)))
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil:
		return nil, sender.Permanent(errors.New("the URL is not http or https with a host, and without userinfo"))
	}
	req, err := http.NewRequestWithContext(ctx, h[keyMethod], h[keyURL], bytes.NewReader(body))
	if err != nil {
		return nil, sender.Permanent(errors.New(reason(err)))
	}
	if host := h[keyHost]; host != "" {
		if !value(host) {
			return nil, sender.Permanent(errors.New("the Host is not valid"))
		}
		req.Host = host
	}
	for name, joined := range h {
		if strings.HasPrefix(name, ":") {
			continue
		}
		if !token(name) {
			return nil, sender.Permanent(fmt.Errorf("%.64q is not the name of a header", name))
		}
		values := strings.Split(joined, "\n")
		if !slices.ContainsFunc(values, func(v string) bool { return !value(v) }) {
			req.Header[name] = values
			continue
		}
		return nil, sender.Permanent(fmt.Errorf("a value of the header %.64q is not valid", name))
	}
	return req, nil
}

// token reports whether s may be a method or the name of a header field (RFC 9110 section 5.6.2).
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// value reports whether s may be the value of a header field (RFC 9110 section 5.5): no control
// character except the tab.
func value(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
