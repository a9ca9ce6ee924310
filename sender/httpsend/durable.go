package httpsend

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// ErrTooLarge: the body of a request is longer than Durable.MaxBody. Nothing was stored.
var ErrTooLarge = errors.New("httpsend: the body is too large")

// AnswerID is the header of an answer of [Durable] that contains the ID of the stored event.
const AnswerID = "Outbox-Id"

const defaultMaxBody = 4 << 20

// Durable is an http.RoundTripper that makes an SDK durable. It stores what the SDK sends and
// answers with success; a [Transport] sends it later.
//
//	sdk.HTTPClient = &http.Client{Transport: &httpsend.Durable{
//		Put: func(req *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
//			return b.Put(req.Context(), outbox.Event{Kind: "http", Key: req.URL.Path, Header: header, Payload: body})
//		},
//	}}
//
// Credentials are not stored: the headers Authorization, Cookie and Proxy-Authorization, the
// userinfo of the URL, and what Secret names. Transport.Authorize adds them again. Everything else
// is stored as it is, also secrets that an SDK puts into a path or a body.
//
// A request is sent as it was stored, perhaps hours later. If the SDK signs its requests, the
// signature is then too old, or no longer fits the headers, and the destination refuses it at every
// attempt. So leave the signature out by Secret, its time and its nonce too, and sign each attempt
// in Transport.Authorize, by the scheme of the vendor; see the example Signature.
//
// The SDK learns only that the request was stored, not what the destination answers later. A
// request that the destination refuses is among the dead items of the outbox.
//
// Do not change a Durable after its first use. It is safe for concurrent use if its functions are.
type Durable struct {
	// Put stores a request. The SDK gets its error, wrapped. req has no body and no credentials;
	// use it to choose kind and key. Its context is the context of the SDK. The event must carry
	// header and body unchanged. Required.
	Put func(req *http.Request, header map[string]string, body []byte) (uuid.UUID, error)
	// Match reports whether to store a request, by host, method or path. Next sends all others at
	// once. nil: it stores all requests except GET, HEAD, OPTIONS, TRACE and CONNECT, which ask for
	// an answer.
	Match func(*http.Request) bool
	// Next sends what is not stored. nil means http.DefaultTransport.
	Next http.RoundTripper
	// MaxBody is the longest body that is stored, in bytes. A longer one is ErrTooLarge. 0 or less
	// means 4 MiB.
	MaxBody int
	// Secret names more headers and query parameters that are not stored. Case does not matter. A
	// query counts as split at & and at ; alike.
	Secret []string
	// Status is the status of the answer to a stored request. 0 means 202. Some SDKs accept only
	// 200.
	Status int
	// Body is the JSON body of that answer. "" means {}. With Status 204 there is no body.
	Body string
}

// RoundTrip stores a request, or passes it on. When it returns an answer, Put has stored the
// request.
func (d *Durable) RoundTrip(req *http.Request) (*http.Response, error) {
	match := d.Match
	if match == nil {
		match = changes
	}
	if !match(req) {
		return or(d.Next).RoundTrip(req)
	}
	id, err := d.store(req)
	if err != nil {
		return nil, fmt.Errorf("httpsend: store %s: %w", name(req), err)
	}
	return d.answer(req, id), nil
}

// store strips, encodes and stores a request.
func (d *Durable) store(req *http.Request) (uuid.UUID, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if d.Put == nil || req.URL == nil {
		return uuid.Nil, errors.New("Durable.Put or the URL is nil")
	}
	bare := strip(req, d.Secret)
	header, err := encode(bare)
	if err != nil {
		return uuid.Nil, err
	}
	body, err := d.read(req)
	if err != nil {
		return uuid.Nil, err
	}
	return d.Put(bare, header, body)
}

// read returns the whole body.
func (d *Durable) read(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	limit := int64(min(d.MaxBody, math.MaxInt32))
	if limit <= 0 {
		limit = defaultMaxBody
	}
	if req.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, req.ContentLength, limit)
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the body, after %d bytes: %w", len(body), err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("%w: at most %d bytes", ErrTooLarge, limit)
	case req.ContentLength > 0 && int64(len(body)) != req.ContentLength:
		return nil, fmt.Errorf("the body has %d bytes, announced were %d", len(body), req.ContentLength)
	}
	return body, nil
}

// answer makes the answer to a stored request.
func (d *Durable) answer(req *http.Request, id uuid.UUID) *http.Response {
	code, body := d.Status, d.Body
	if code == 0 {
		code = http.StatusAccepted
	}
	if body == "" {
		body = "{}\n"
	}
	h := http.Header{AnswerID: {id.String()}}
	if code == http.StatusNoContent {
		body = ""
	} else {
		h.Set("Content-Type", "application/json")
	}
	return &http.Response{
		Status:     strconv.Itoa(code) + " " + http.StatusText(code),
		StatusCode: code,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        h,
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       req,
	}
}

// CloseIdleConnections closes the idle connections of Next.
func (d *Durable) CloseIdleConnections() { closeIdle(d.Next) }

// changes reports whether a request is sent for its effect and not for its answer.
func changes(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return false
	}
	return true
}

func or(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		return http.DefaultTransport
	}
	return next
}

func closeIdle(next http.RoundTripper) {
	if c, ok := or(next).(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
