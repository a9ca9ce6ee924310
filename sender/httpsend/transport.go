// Package httpsend delivers HTTP requests that an outbox has stored.
//
// [Durable] goes into the http.Client of any SDK. It stores what the SDK sends, without
// credentials, and answers with success. [Transport] sends the request later, adds the credentials
// again, and turns the answer into what package sender understands: a 429 pauses the lane, a 401
// holds it, a 400 makes the item dead. The parts can be used alone: [Do] sends one request and
// returns the verdict; [Observe] finds out what an SDK hides; [RetryAfter] reads the header.
//
//	client := &http.Client{Transport: &httpsend.Durable{Put: put}} // for the SDK; put stores by Outbox.Put
//	transport := &httpsend.Transport{                              // for outbox.Open
//		Authorize: func(req *http.Request) error { req.Header.Set("Authorization", "Bearer "+token); return nil },
//		IDHeader:  "Idempotency-Key",
//	}
//
// # Caveats
//
// Delivery is at least once: a request whose answer was lost is sent again. IDHeader lets the
// destination recognize it. Errors name method, host and path, and are stored on disk: do not use
// this package for an API that has secrets in its paths.
package httpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed8107221f/outbox/sender"
)

// Transport is a sender.Transport for requests that a [Durable] stored. The zero value works where
// no credentials are needed. Do not change it after its first use. It is safe for concurrent use if
// its functions are.
type Transport struct {
	// Client sends the requests. nil means a shared client made by NewClient. Redirects are not
	// followed, even if Client would follow them.
	Client *http.Client
	// Authorize adds the credentials at each attempt. If requests to several hosts are stored, it
	// must check the host first. Its error becomes sender.Unavailable: nothing was sent. nil:
	// nothing is added.
	Authorize func(*http.Request) error
	// IDHeader is the name of a header that carries the item's ID, the same at every attempt, so
	// that the destination can recognize a repetition. It replaces a stored header of that name,
	// and a 409 is then tried again. "": none.
	IDHeader string
	// Excerpt chooses which part of an answer other than 2xx goes into the error, which is stored
	// on disk. The first 200 bytes of its result are used, as one printable line. body has at most
	// 64 KiB and may contain personal data and credentials. nil: no part.
	Excerpt func(body []byte) string
}

// Send sends a stored request once; its errors are those of [Do]. An item that is not a stored
// request is sender.Permanent. An item that a newer version stored is tried again after an hour.
func (t *Transport) Send(ctx context.Context, it sender.Item) error {
	req, err := decode(ctx, it.Header, it.Payload)
	if err != nil {
		return fmt.Errorf("httpsend: item %s: %w", it.ID, err)
	}
	if t.IDHeader != "" && !token(t.IDHeader) {
		return sender.Unavailable(fmt.Errorf("httpsend: IDHeader %.64q is not the name of a header", t.IDHeader))
	}
	return t.do(req, it.ID.String())
}

// do adds to a request the credentials, and then the id, and sends it.
func (t *Transport) do(req *http.Request, id string) error {
	if t.Authorize != nil {
		if err := t.Authorize(req); err != nil {
			return sender.Unavailable(&noAnswer{"authorize " + name(req), err})
		}
	}
	if t.IDHeader != "" && id != "" {
		drop(req.Header, t.IDHeader)
		req.Header.Set(t.IDHeader, id)
	}
	answer, err := Do(t.Client, req)
	var e *StatusError
	if !errors.As(err, &e) || answer == nil {
		return err
	}
	if t.Excerpt != nil {
		e.Excerpt = line(t.Excerpt(answer.Body))
	}
	if t.IDHeader != "" && !e.idempotent {
		e.idempotent = true
		return judge(e)
	}
	return err
}

// CloseIdleConnections closes the idle connections of the client, so that the next request goes out
// on a new one. The sender calls it before it probes a lane that is held.
func (t *Transport) CloseIdleConnections() {
	if t.Client == nil {
		shared.CloseIdleConnections()
		return
	}
	t.Client.CloseIdleConnections()
}

// Probing is a [Transport] that has a harmless request, with which the sender tests a lane that is
// held. Under sender.Options.AtMostOnce a Transport alone would test it with an item, whose fate is
// unknown if no answer comes.
//
//	transport := &httpsend.Probing{
//		Transport: httpsend.Transport{Authorize: authorize, Client: httpsend.Young(nil)},
//		Request: func(ctx context.Context) (*http.Request, error) {
//			return http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.com/health", nil)
//		},
//	}
type Probing struct {
	Transport
	// Request makes the request, which must change nothing at the destination. Authorize adds the
	// credentials to it. Required: without it no lane that was held opens again.
	Request func(context.Context) (*http.Request, error)
}

// Probe sends the request once. nil: the destination answered with 2xx; otherwise its errors are
// those of [Do].
func (p *Probing) Probe(ctx context.Context) error {
	if p.Request == nil {
		return sender.Unavailable(errors.New("httpsend: Probing.Request is nil"))
	}
	req, err := p.Request(ctx)
	if err != nil {
		return sender.Unavailable(fmt.Errorf("httpsend: the request of the probe: %s", reason(err)))
	}
	return p.do(req, "")
}

// drop deletes a field, in whatever case its name is written.
func drop(h http.Header, name string) {
	for n := range h {
		if strings.EqualFold(n, name) {
			delete(h, n)
		}
	}
}
