package outboxtest_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// A Transport serves any outbox, also one that New has not made.
func ExampleTransport() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	tr := outboxtest.NewTransport(outboxtest.Fail("503"), outboxtest.Lose(outboxtest.Accept()))
	b, err := outbox.Open(filepath.Join(dir, "events.db"), tr, &outbox.Options{
		Sender: sender.Options{Backoff: func(int) time.Duration { return 10 * time.Millisecond }},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(context.Background(), outbox.Event{Kind: "signup", Key: "ann"}); err != nil {
		log.Fatal(err)
	}
	if err := b.Drain(context.Background()); err != nil {
		log.Fatal(err)
	}
	for _, r := range tr.Requests() {
		fmt.Println(r.Items[0].Kind, r.Items[0].Key, r.Errs[0])
	}
	// Output:
	// signup ann 503
	// signup ann the answer was lost: accepted
	// signup ann <nil>
}

// A program shows what a strict vendor would say of it.
func ExampleStartReceiver() {
	v, err := outboxtest.StartReceiver(&outboxtest.ReceiverOptions{Limit: 2, Window: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	for range 3 {
		resp, err := http.Post(v.URL, "text/plain", strings.NewReader("signup"))
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	fmt.Println(v.Manners())
	// Output:
	// 200 OK
	// 200 OK
	// 429 Too Many Requests
	// outboxtest: the receiver's rules were broken:
	// 	3 requests in a window of 1h0m0s, 2 are allowed
}
