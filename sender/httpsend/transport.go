// Package httpsend delivers HTTP requests that an outbox has stored.
//
// [Durable] goes into the http.Client of any SDK: what the SDK sends is stored, without credentials,
// and answered with success. [Transport] sends it later, puts the credentials back, and turns the
// answer into what package sender understands: a 429 pauses the lane, a 401 holds it, a 400 buries the
// item. The pieces serve transports of one's own: [Do] sends one request and gives the verdict;
// [Observe] finds out what an SDK hides; [RetryAfter] reads the header.
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
// destination tell. Errors name method, host and path, and are kept on disk: an API that has secrets
// in its paths does not belong here.
package httpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed8107221f/outbox/sender"
)

// Transport is a sender.Transport for requests that a [Durable] stored. The zero value works where no
// credentials are needed. It must not be changed after its first use and is then safe for concurrent
// use.
type Transport struct {
	// Client sends; nil: one as of NewClient, shared by all who leave it nil. Redirects are not
	// followed, whatever it says.
	Client *http.Client
	// Authorize puts the credentials back, at each attempt. It must look at the host before it hands
	// them out, if requests to several are stored. Its error is sender.Unavailable: nothing was sent.
	// nil: nothing is put back.
	Authorize func(*http.Request) error
	// IDHeader is the name of a header that carries the item's ID, the same on every attempt, for
	// the destination to tell a repetition. It replaces one that was stored. "": none.
	IDHeader string
	// Excerpt chooses what of an answer that is not 2xx goes into the error, which is kept on disk; of
	// its result the first 200 bytes are taken, as one printable line. body has at most 64 KiB and may
	// hold anything, personal data and credentials included. nil: nothing of it.
	Excerpt func(body []byte) string
}

// Send sends a stored request once; see [Do] for what its errors mean. An item that is not a stored
// request is sender.Permanent; one that a newer version stored is put off by an hour.
func (t *Transport) Send(ctx context.Context, it sender.Item) error {
	req, err := decode(ctx, it.Header, it.Payload)
	if err != nil {
		return fmt.Errorf("httpsend: item %s: %w", it.ID, err)
	}
	if t.Authorize != nil {
		if err := t.Authorize(req); err != nil {
			return sender.Unavailable(&noAnswer{"authorize " + name(req), err})
		}
	}
	if t.IDHeader != "" {
		if !token(t.IDHeader) {
			return sender.Unavailable(fmt.Errorf("httpsend: IDHeader %.64q is not the name of a header", t.IDHeader))
		}
		drop(req.Header, t.IDHeader)
		req.Header.Set(t.IDHeader, it.ID.String())
	}

	answer, err := Do(t.Client, req)
	if t.Excerpt != nil && err != nil && answer != nil {
		var e *StatusError
		if errors.As(err, &e) {
			e.Excerpt = line(t.Excerpt(answer.Body))
		}
	}
	return err
}

// drop deletes a field however its name is spelled.
func drop(h http.Header, name string) {
	for n := range h {
		if strings.EqualFold(n, name) {
			delete(h, n)
		}
	}
}
