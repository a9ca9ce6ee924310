// Quickstart puts three events and delivers them to a destination that fails at first:
//
//	go run ./examples/quickstart
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

func run(ctx context.Context, out io.Writer) error {
	start, n := time.Now(), atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) { // requests so far
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()

	send := func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, "POST", server.URL, bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err)
		}
		req.Header.Set("Idempotency-Key", it.ID.String()) // the same on every attempt
		_, err = httpsend.Do(nil, req)                    // sends once and returns the verdict
		said := "delivered"
		if err != nil {
			said = err.Error()
		}
		fmt.Fprintf(out, "%5.1fs  %s %s: %s\n", time.Since(start).Seconds(), it.Kind, it.Key, said)
		return err
	}
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := outbox.Open(filepath.Join(dir, "events.db"), sender.TransportFunc(send), &outbox.Options{
		Limiter: limiter.Within(100, time.Second), // the destination allows 100 requests in any second
	})
	if err != nil {
		return err
	}
	defer b.Close()
	for _, e := range []outbox.Event{{Kind: "signup", Key: "ann"}, {Kind: "signup", Key: "ben"}, {Kind: "upgrade", Key: "ann"}} {
		if _, err := b.Put(ctx, e); err != nil { // nil: the event is on disk
			return err
		}
	}
	if err := b.Drain(ctx); err != nil { // waits until nothing is pending
		return err
	}
	s := b.Stats()
	fmt.Fprintf(out, "put %d, delivered %d, dead %d\n", s.Put, s.Delivered, s.Dead)
	return b.Close()
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
