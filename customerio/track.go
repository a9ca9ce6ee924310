package customerio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// The text around the operations of a batch. Commas separate the operations.
const (
	batchOpen  = `{"batch":[`
	batchClose = `]}`
)

// trackTransport sends operations to the Track API: one alone, several as a batch.
type trackTransport struct {
	*api
	items int // in a batch, at most
	bytes int // of the request
}

// BatchLimit leaves room for the envelope and the commas.
func (t *trackTransport) BatchLimit() (items, bytes int) {
	return t.items, max(1, t.bytes-len(batchOpen)-len(batchClose)-(t.items-1))
}

// Send sends one operation, or a call of API v1, whose path is in its header.
func (t *trackTransport) Send(ctx context.Context, it sender.Item) error {
	path := it.Header[headerPath]
	switch {
	case path == "":
		path = "/api/v2/entity"
	case !strings.HasPrefix(path, "/api/v1/"):
		return sender.Permanent(errors.New("customerio: the item names no path of the Track API"))
	}
	answer, err := t.post(ctx, path, it.Payload)
	if err != nil {
		return err
	}
	if said := t.said(answer.Body); said != "" {
		return sender.Permanent(fmt.Errorf("customerio: refused: %s", said))
	}
	return nil
}

// SendBatch sends all items in one request. Operations that the answer refuses by index are
// permanent errors. If the service refuses the whole batch, or the answer does not say which
// operations it refuses, the batch is sent again in parts, until each operation has its own answer.
// So no operation counts as accepted without an answer that says so. A batch with a call of API v1,
// which must be alone, is parted without a request.
func (t *trackTransport) SendBatch(ctx context.Context, items []sender.Item) []error {
	errs := make([]error, len(items))
	if len(items) == 1 {
		errs[0] = t.Send(ctx, items[0])
		return errs
	}
	for i := range items {
		if items[i].Header[headerPath] != "" {
			err := sender.Split(errors.New("customerio: a call of API v1 goes alone"))
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	answer, err := t.post(ctx, "/api/v2/batch", batch(items))
	switch c := code(err); {
	case c == http.StatusBadRequest || c == http.StatusRequestEntityTooLarge || c == http.StatusUnprocessableEntity:
		err = sender.Split(err)
	case err == nil && (answer.Status == http.StatusMultiStatus || refuses(answer)):
		if err = t.refuse(errs, answer); err != nil {
			err = sender.Split(err)
		}
	}
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

func batch(items []sender.Item) []byte {
	n := len(batchOpen) + len(batchClose) + len(items)
	for i := range items {
		n += len(items[i].Payload)
	}
	body := append(make([]byte, 0, n), batchOpen...)
	for i := range items {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, items[i].Payload...)
	}
	return append(body, batchClose...)
}

// refuses reports whether a success refuses operations, or may do so in the part of the answer that
// is missing. The service refuses some of a batch under 207; what is between us and it may change
// the status, and seldom the body.
func refuses(answer *httpsend.Answer) bool {
	return len(refusals(answer.Body)) > 0 || answer.Cut && bytes.Contains(answer.Body, []byte(`"errors"`))
}

// refuse sets the errors of the operations that an answer refuses, or returns why it cannot tell
// which.
func (t *trackTransport) refuse(errs []error, answer *httpsend.Answer) error {
	refused := refusals(answer.Body)
	if answer.Cut || len(refused) == 0 {
		return fmt.Errorf("customerio: status %d for %d operations, and its %d bytes do not say whom it refuses", answer.Status, len(errs), len(answer.Body))
	}
	for _, r := range refused {
		switch {
		case r.Index == nil:
			return fmt.Errorf("customerio: status %d refuses an operation without saying which: %s", answer.Status, t.text(r))
		case *r.Index < 0 || *r.Index >= len(errs):
			return fmt.Errorf("customerio: status %d refuses operation %d of %d: %s", answer.Status, *r.Index, len(errs), t.text(r))
		default:
			errs[*r.Index] = sender.Permanent(fmt.Errorf("customerio: refused: %s", t.text(r)))
		}
	}
	return nil
}
