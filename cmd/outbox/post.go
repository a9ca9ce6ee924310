package main

import (
	"bytes"
	"context"
	"maps"
	"net/http"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// post sends one line.
func (r *relay) post(ctx context.Context, it sender.Item) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.to, bytes.NewReader(it.Payload))
	if err != nil {
		return sender.Permanent(err)
	}
	req.Header.Set("Content-Type", "application/json")
	maps.Copy(req.Header, r.header)
	if r.idHeader != "" {
		req.Header.Set(r.idHeader, it.ID.String())
	}
	_, err = httpsend.Do(nil, req)
	return err
}
