package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

// This is the Go block of docs/command.md. Here it compiles.
var _ = func(ctx context.Context, b *outbox.Outbox) error {
	m, err := monitor.New(map[string]*outbox.Outbox{"events": b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		return monitor.Access{Name: "shell", Read: true, Payload: true, Act: true}
	}})
	if err != nil {
		return err
	}
	go func() {
		if err := monitor.Serve(ctx, b.Path()+".sock", m); err != nil {
			slog.Error("the socket beside the file", "error", err)
		}
	}()
	return nil
}
