package httpsend

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/seed8107221f/outbox/sender"
)

// A StatusError is an answer that is not a success. Errors of this package contain it; use
// errors.As.
type StatusError struct {
	Request    string        // method, host and path: "PUT example.org/v1/customers/7"
	Code       int           // the status
	RetryAfter time.Duration // what the destination asked for, unless the request is refused for good; 0: none
	Excerpt    string        // of the answer; "" unless Transport.Excerpt is set
	Err        error         // the error of the SDK; nil without an SDK

	idempotent bool // the request had a key by which the destination knows a repetition
}

// Error names request, status and wait. It contains no query, header or body of the request, and of
// the answer only Excerpt. It leaves out the text of Err, which may contain all of these.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("httpsend: %s: %d %s", e.Request, e.Code, http.StatusText(e.Code))
	text = strings.TrimRight(text, " ")
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(", retry after %v", e.RetryAfter)
	}
	if success(e.Code) {
		text += fmt.Sprintf(", yet the call failed with a %T", e.Err)
	}
	if e.Excerpt != "" {
		text += ": " + e.Excerpt
	}
	return text
}

// Status returns Code. The sender compares refusals by it.
func (e *StatusError) Status() int { return e.Code }

// Unwrap returns Err.
func (e *StatusError) Unwrap() error { return e.Err }

// Verdict returns what an answer means that arrived at now:
//
//	2xx                          nil
//	3xx, 401, 403, 407, 421, 511 sender.Unavailable: settings, connection or network, not the item
//	429                          sender.Throttled, for as long as RetryAfter says, or 0
//	503 with Retry-After         sender.Throttled, for as long as it says
//	503, 423, 424, 425           sender.NotAccepted: tried again
//	413 with Retry-After         sender.NotAccepted: tried again
//	409 to an idempotent request an error without a mark: tried again
//	408, 499, any other 5xx      an error without a mark: tried again
//	any other 4xx                sender.Permanent
//	anything else                an error without a mark
//
// The item of an answer that is tried again waits at least as long as Retry-After says
// (sender.MinWait). The error is a [StatusError] under its marks. Verdict does not read the body.
//
// Whether a 4xx is about the item, the moment or the connection:
//
//   - 408: the server gave up waiting for the request (RFC 9110 section 15.5.9). The moment; a
//     gateway may have passed it on, so it has no mark.
//   - 409: the state of the target (section 15.5.10), so the item. To a request with an
//     idempotency key it also means that the first try is still running
//     (draft-ietf-httpapi-idempotency-key-header, section 2.7): the moment. A request is idempotent
//     in this sense if it has the header Idempotency-Key, X-Idempotency-Key or Transport.IDHeader.
//   - 413: the item; with Retry-After the moment (RFC 9110 section 15.5.14).
//   - 417: an expectation in the stored header (section 15.5.18). The item.
//   - 421: this connection leads to a server that does not answer for the host (section 15.5.20).
//     The connection: the lane holds, and its probe takes a new one.
//   - 423, 424: a lock, or another action that failed (RFC 4918 sections 11.3 and 11.4). The
//     moment.
//   - 425: the request came too early to be safe from a replay (RFC 8470 section 5.2). The moment.
//   - 429: the rate (RFC 6585 section 4). The moment, for the whole lane.
//   - 449 (Microsoft): to be repeated with more data, which nobody adds. The item.
//   - 499 (nginx): a proxy saw its client go away. The connection; the request may have been
//     carried out.
//
// Of the 5xx, 503 says that the server did not handle the request (RFC 9110 section 15.6.4), and
// 511 comes from a network that wants a login, not from the server (RFC 6585 section 6). 500, 502,
// 504 and 520 to 527 leave it open whether the request was carried out.
func Verdict(resp *http.Response, now time.Time) error {
	return judge(status(resp.Request, resp, now))
}

// status makes the error of an answer.
func status(req *http.Request, resp *http.Response, now time.Time) *StatusError {
	e := &StatusError{Request: name(req), Code: resp.StatusCode, idempotent: req != nil && hasKey(req.Header)}
	if success(e.Code) {
		return e
	}
	if e.RetryAfter, _ = RetryAfter(resp.Header, now); e.final() {
		e.RetryAfter = 0
	}
	return e
}

// idempotencyKeys are headers by which a destination knows a repetition. With their usual spelling
// net/http itself repeats a request.
var idempotencyKeys = [...]string{"Idempotency-Key", "X-Idempotency-Key"}

// hasKey reports whether a header has one of idempotencyKeys, in whatever case.
func hasKey(h http.Header) bool {
	for name := range h {
		for _, key := range idempotencyKeys {
			if strings.EqualFold(name, key) {
				return true
			}
		}
	}
	return false
}

// pauses reports whether Retry-After is about all requests, not about this one alone.
func (e *StatusError) pauses() bool {
	return e.Code == http.StatusTooManyRequests || e.Code == http.StatusServiceUnavailable && e.RetryAfter > 0
}

// final reports whether the same request would be refused again.
func (e *StatusError) final() bool {
	switch e.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusMisdirectedRequest,
		http.StatusRequestTimeout, http.StatusLocked, http.StatusFailedDependency, http.StatusTooEarly,
		http.StatusTooManyRequests, clientClosed:
		return false
	case http.StatusConflict:
		return !e.idempotent
	case http.StatusRequestEntityTooLarge:
		return e.RetryAfter <= 0
	}
	return e.Code >= 400 && e.Code < 500
}

const clientClosed = 499 // of nginx

// judge is the table of [Verdict].
func judge(e *StatusError) error {
	switch {
	case success(e.Code):
		return nil
	case e.final():
		return sender.Permanent(e)
	case e.pauses():
		return sender.Throttled(e, e.RetryAfter)
	}
	err := sender.MinWait(e, e.RetryAfter)
	switch e.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired, http.StatusMisdirectedRequest,
		http.StatusNetworkAuthenticationRequired:
		return sender.Unavailable(err)
	case http.StatusRequestEntityTooLarge, http.StatusLocked, http.StatusFailedDependency, http.StatusTooEarly,
		http.StatusServiceUnavailable:
		return sender.NotAccepted(err)
	}
	if e.Code >= 300 && e.Code < 400 {
		return sender.Unavailable(err)
	}
	return err
}

func success(code int) bool { return code >= 200 && code < 300 }

// A noAnswer is the error of a request that got no answer.
type noAnswer struct {
	request string
	err     error
}

func (e *noAnswer) Error() string { return "httpsend: " + e.request + ": " + reason(e.err) }
func (e *noAnswer) Unwrap() error { return e.err }

// unanswered returns the verdict on a request that got no answer. Without a connection nothing was
// sent, and the destination is at fault: the name does not resolve, the connection was refused, TLS
// failed. Otherwise the request may have been carried out, and is tried again.
func unanswered(req *http.Request, err error, l *link) error {
	if l.repeated.Load() {
		err = errRepeated
	}
	failed := &noAnswer{name(req), err}
	if l.missing() && req.Context().Err() == nil {
		return sender.Unavailable(failed)
	}
	return failed
}

// maxText is how many bytes of a path, a reason or an excerpt go into an error. Errors are stored
// on disk.
const maxText = 200

// name names a request without what may be secret: query, userinfo, header, body.
func name(req *http.Request) string {
	if req == nil || req.URL == nil {
		return "unknown request"
	}
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	return method + " " + line(req.URL.Host+req.URL.EscapedPath())
}

// reason is the text of an error without its URL, and without what net/http quotes from an answer:
// a destination that echoes a request would make us store our own credentials.
func reason(err error) string {
	for u := (*url.Error)(nil); errors.As(err, &u) && u.Err != nil; {
		err = u.Err
	}
	text, _, quoted := strings.Cut(err.Error(), `"`)
	if quoted {
		text += "…"
	}
	return line(text)
}

// line turns text into one printable line of at most maxText bytes.
func line(s string) string {
	cut := len(s) > maxText
	if cut {
		s = s[:maxText-len("…")]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return s
}
