package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
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

// A transport posts each event to one URL. It is all that a destination needs: build a request, and
// let httpsend say what the answer means.
type transport struct {
	url string
}

// Send posts one event. It is safe for concurrent use.
func (t *transport) Send(ctx context.Context, it sender.Item) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(it.Payload))
	if err != nil {
		return sender.Permanent(fmt.Errorf("post: %w", err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerID, it.ID.String())
	req.Header.Set(headerKind, url.QueryEscape(it.Kind))
	req.Header.Set(headerKey, url.QueryEscape(it.Key))
	req.Header.Set(headerSeq, strconv.FormatUint(it.Seq, 10))
	_, err = httpsend.Do(nil, req)
	return err
}

// verdict asks the receiver what it has seen. ok is false when the destination is not our receiver
// and keeps no record.
func (t *transport) verdict() (v verdict, ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if v, ok, err = t.askVerdict(ctx); err != nil {
		return v, false, fmt.Errorf("strict: ask for the verdict: %w", err)
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
	answer, err := httpsend.Do(nil, req)
	if answer == nil {
		return v, false, err
	}
	if answer.Status != http.StatusOK || answer.Header.Get(verdictHeader) == "" {
		return v, false, nil
	}
	err = json.Unmarshal(answer.Body, &v)
	return v, err == nil, err
}
