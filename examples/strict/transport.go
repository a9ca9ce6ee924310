package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

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
