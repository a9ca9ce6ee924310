// Start is the program of docs/start.md: it puts one event and delivers it to a receiver that
// prints what arrives. Run it again, or kill it: the file remembers.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

func main() {
	// The destination. Put the URL of a real one into send instead.
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("received %s\n", body)
	}))
	defer receiver.Close()

	send := func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, "POST", receiver.URL, bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err) // the event is dead: no retry can fix it
		}
		req.Header.Set("Idempotency-Key", it.ID.String())
		_, err = httpsend.Do(nil, req)
		return err
	}
	b, err := outbox.Open("events.db", sender.TransportFunc(send), &outbox.Options{
		Limiter: limiter.Within(100, time.Second),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = b.Put(ctx, outbox.Event{Kind: "signup", Key: "ann", Payload: []byte(`{"plan":"basic"}`)})
	if err != nil {
		log.Fatal(err)
	}
	grace, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	if err := b.Shutdown(grace); err != nil { // delivers what it can, and leaves the rest on disk
		log.Fatal(err)
	}
	fmt.Println("put", b.Stats().Put, "delivered", b.Stats().Delivered)
}
