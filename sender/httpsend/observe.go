package httpsend

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Observe returns a RoundTripper that sends by next and notes the answers. A transport around an
// SDK needs it if the SDK hides status and header:
//
//	client := httpsend.NewClient()
//	client.Transport = httpsend.Observe(client.Transport)
//	sdk := thesdk.New(key, thesdk.WithHTTPClient(client))
//
//	func send(ctx context.Context, it sender.Item) error {
//		ctx, calls := httpsend.Watch(ctx)
//		return calls.Verdict(sdk.Track(ctx, …))
//	}
//
// It notes requests whose context descends from [Watch], and passes on all others. An SDK that
// takes no context cannot be observed. Redirects of an observed call are not followed, even if the
// client would follow them. A nil next means http.DefaultTransport. Safe for concurrent use.
func Observe(next http.RoundTripper) http.RoundTripper { return &observer{next} }

type observer struct{ next http.RoundTripper }

// errRedirect is what the SDK gets instead of the target of a redirect.
var errRedirect = errors.New("httpsend: redirects are not followed")

func (o *observer) RoundTrip(req *http.Request) (*http.Response, error) {
	calls, _ := req.Context().Value(watchKey{}).(*Calls)
	if calls == nil {
		return or(o.next).RoundTrip(req)
	}
	if req.Response != nil { // http.Client follows a redirect; calls has noted it
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, errRedirect
	}
	var l link
	resp, err := or(o.next).RoundTrip(req.WithContext(l.watch(req.Context())))
	calls.note(req, resp, err, &l)
	return resp, err
}

// CloseIdleConnections closes the idle connections of the RoundTripper below.
func (o *observer) CloseIdleConnections() { closeIdle(o.next) }

type watchKey struct{}

// Calls holds what [Observe] saw of the calls under one context. Safe for concurrent use.
type Calls struct {
	mu       sync.Mutex   // guards what follows
	answer   *StatusError // of the last call; nil: no answer arrived
	silence  error        // the verdict on the last call, if no answer arrived
	throttle time.Time    // end of the longest Retry-After of all 429 and 503; zero: none
}

// Watch returns a context for an SDK, and the Calls that are made with it. Use a new Watch for each
// item.
func Watch(ctx context.Context) (context.Context, *Calls) {
	c := &Calls{}
	return context.WithValue(ctx, watchKey{}, c), c
}

// note records what a call has returned.
func (c *Calls) note(req *http.Request, resp *http.Response, err error, l *link) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer, c.silence = nil, nil
	if err != nil {
		c.silence = unanswered(req, err, l)
		return
	}
	c.answer = status(req, resp, now)
	if until := now.Add(c.answer.RetryAfter); c.answer.pauses() && until.After(c.throttle) {
		c.throttle = until
	}
}

// Status returns the status of the last call; 0: there was none, or no answer.
func (c *Calls) Status() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer == nil {
		return 0
	}
	return c.answer.Code
}

// Verdict returns what it means that the SDK returned err:
//
//   - nil: nil.
//   - A 429 or 503 to any of its calls had a Retry-After that still runs: sender.Throttled for the
//     rest of it.
//   - Otherwise the last call decides, as [Verdict] and [Do] say.
//   - After a 2xx the error has no mark. The SDK may have failed to read the answer, found a
//     refusal in the body, or not made its next call. To count this as success could lose the item.
//     A caller that knows more looks at Status.
//   - There was no call: err itself.
//
// Except without a call, the text is never the text of err, which may contain a URL or a body.
// After an answer errors.As finds err; without an answer it finds the error of the connection.
func (c *Calls) Verdict(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer == nil && c.silence == nil {
		return err
	}
	verdict := c.silence
	if c.answer != nil {
		e := *c.answer
		e.Err = err
		if verdict = judge(&e); verdict == nil {
			verdict = &e
		}
	}
	if wait := time.Until(c.throttle); wait > 0 {
		return sender.Throttled(verdict, wait)
	}
	return verdict
}
