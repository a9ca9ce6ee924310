package httpsend

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Observe returns a RoundTripper that sends by next and notes the answers, so that a transport around
// an SDK gives the right verdict although the SDK hides status and header:
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
// It notes the requests whose context descends from [Watch], and passes all others through. An SDK
// that takes no context cannot be observed. Of a watched call no redirect is followed, whatever the
// client would do. A nil next is http.DefaultTransport. Safe for concurrent use.
func Observe(next http.RoundTripper) http.RoundTripper { return &observer{next} }

type observer struct{ next http.RoundTripper }

// errRedirect is what the SDK gets in place of what is behind a redirect.
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

// CloseIdleConnections closes those of the RoundTripper below.
func (o *observer) CloseIdleConnections() { closeIdle(o.next) }

type watchKey struct{}

// Calls is what [Observe] saw of the calls under one context. Safe for concurrent use.
type Calls struct {
	mu       sync.Mutex   // guards what follows
	answer   *StatusError // of the last call; nil: none came
	silence  error        // the verdict on the last call, if no answer came
	throttle time.Time    // no call before then, by order of any answer; zero: none
}

// Watch returns a context to pass to an SDK, and what will be seen of the calls made with it. One
// item, one Watch.
func Watch(ctx context.Context) (context.Context, *Calls) {
	c := &Calls{}
	return context.WithValue(ctx, watchKey{}, c), c
}

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
	if until := now.Add(c.answer.RetryAfter); c.answer.RetryAfter > 0 && until.After(c.throttle) {
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

// Verdict says what it means that the SDK returned err:
//
//   - nil is nil: the SDK is content.
//   - While a Retry-After still runs, of any of its calls: sender.Throttled for what is left of it.
//   - Otherwise the last call decides, as [Verdict] and [Do] say.
//   - After a 2xx the error has no mark. Only the SDK knows what it is about: an answer it cannot
//     read, a refusal in the body, a next call that it did not get to. To take it for success could
//     lose the item; who knows better looks at Status.
//   - Without any call it is err itself.
//
// Unless there was no call the text never is the SDK's, which may hold a URL or a body. After an
// answer errors.As finds err itself; without one, what became of the connection.
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
