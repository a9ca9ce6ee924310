package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// What the receiver is told about an event beside its payload. A kind and a key may hold any bytes
// and go percent-encoded.
const (
	headerID   = "Outbox-Id"   // the same on every attempt: the receiver deduplicates by it
	headerKind = "Outbox-Kind" //
	headerKey  = "Outbox-Key"  //
	headerSeq  = "Outbox-Seq"  // the place in the queue: it rises within a key

	verdictPath   = "/verdict"
	verdictHeader = "Outbox-Verdict" // marks the answer of our own receiver
)

// maxAnswer is how much of an answer is read, in bytes. Reading it to the end lets the connection be
// used again; a longer one costs the connection.
const maxAnswer = 64 << 10

// A transport posts each event to one URL. It is all that a destination needs: build a request, and
// say by the error what the answer means.
type transport struct {
	url    string
	client *http.Client
}

// newTransport returns a transport that keeps a connection for each request in flight.
func newTransport(url string, concurrency int) *transport {
	rt := http.DefaultTransport.(*http.Transport).Clone()
	rt.MaxIdleConns, rt.MaxIdleConnsPerHost = concurrency, concurrency
	return &transport{url: url, client: &http.Client{
		Transport: rt,
		// To follow a redirect would drop credentials, and turn a POST into a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Send posts one event. It is safe for concurrent use.
func (t *transport) Send(ctx context.Context, it sender.Item) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(it.Payload))
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerID, it.ID.String())
	req.Header.Set(headerKind, url.QueryEscape(it.Kind))
	req.Header.Set(headerKey, url.QueryEscape(it.Key))
	req.Header.Set(headerSeq, strconv.FormatUint(it.Seq, 10))

	resp, err := t.client.Do(req)
	if err != nil {
		return unanswered(ctx, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // the status has said all that counts
	return answered(resp)
}

// answered says what an answer means.
func answered(resp *http.Response) error {
	code := resp.StatusCode
	err := fmt.Errorf("post: the answer is %d %s", code, http.StatusText(code))
	wait := retryAfter(resp.Header)
	switch {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable && wait > 0:
		return sender.Throttled(err, wait)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code >= 300 && code < 400:
		return sender.Unavailable(err) // the settings are wrong, not the event
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return err
	case code >= 400 && code < 500:
		return sender.Permanent(err)
	}
	return err
}

// unanswered says what it means that no answer came.
func unanswered(ctx context.Context, err error) error {
	// The URL that http.Client puts around its errors may hold a token. The cause is enough.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	err = fmt.Errorf("post: %w", err)
	if ctx.Err() != nil {
		return err // out of time, or told to stop: nothing is known of the destination
	}
	var dial *net.OpError // an unknown name and a refused connection alike
	if errors.As(err, &dial) && dial.Op == "dial" {
		return sender.Unavailable(err)
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return sender.Unavailable(err)
	}
	return err
}

// retryAfter reads how long the destination asks to be left alone, in seconds or as a date, which is
// measured by the destination's own clock. Anything else is no order: 0.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(until.Sub(now), 0)
}

// verdict asks the receiver what it has seen. ok is false when the destination is not our receiver
// and keeps no record.
func (t *transport) verdict() (v verdict, ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if v, ok, err = t.askVerdict(ctx); err != nil {
		return v, false, fmt.Errorf("quickstart: ask for the verdict: %w", err)
	}
	return v, ok, nil
}

func (t *transport) askVerdict(ctx context.Context) (v verdict, ok bool, err error) {
	at, err := url.JoinPath(t.url, verdictPath)
	if err != nil {
		return v, false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return v, false, err
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return v, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get(verdictHeader) == "" {
		return v, false, nil
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&v)
	return v, err == nil, err
}
