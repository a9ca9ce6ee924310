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
	RetryAfter time.Duration // what the destination asked for, on 429 and 503; 0: none
	Excerpt    string        // of the answer; "" unless Transport.Excerpt is set
	Err        error         // the error of the SDK; nil without an SDK
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

// Unwrap returns Err.
func (e *StatusError) Unwrap() error { return e.Err }

// Verdict returns what an answer means that arrived at now:
//
//	2xx                      nil
//	3xx, 401, 403, 407       sender.Unavailable: the settings are wrong, not the item
//	429                      sender.Throttled, for as long as RetryAfter says, or 0
//	503 with Retry-After     sender.Throttled, for as long as it says
//	408, 425, 5xx            an error without a mark: tried again
//	any other 4xx            sender.Permanent
//	anything else            an error without a mark
//
// The error is a [StatusError] under its mark. Verdict does not read the body.
func Verdict(resp *http.Response, now time.Time) error {
	return judge(status(resp.Request, resp, now))
}

// status makes the error of an answer.
func status(req *http.Request, resp *http.Response, now time.Time) *StatusError {
	e := &StatusError{Request: name(req), Code: resp.StatusCode}
	if e.Code == http.StatusTooManyRequests || e.Code == http.StatusServiceUnavailable {
		e.RetryAfter, _ = RetryAfter(resp.Header, now)
	}
	return e
}

// judge is the table of [Verdict].
func judge(e *StatusError) error {
	code := e.Code
	switch {
	case success(code):
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && e.RetryAfter > 0:
		return sender.Throttled(e, e.RetryAfter)
	case code >= 300 && code < 400, code == http.StatusUnauthorized, code == http.StatusForbidden,
		code == http.StatusProxyAuthRequired:
		return sender.Unavailable(e)
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return e
	case code >= 400 && code < 500:
		return sender.Permanent(e)
	}
	return e
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
