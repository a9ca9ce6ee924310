package sendertest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// A Transport is tried with a real sender, and nothing on disk.
func ExampleMemory() {
	ctx := context.Background()
	q := new(sendertest.Memory)
	for _, text := range []string{"placed", "odd", "paid"} {
		if err := q.Append(ctx, sender.Item{ID: uuid.New(), Key: "order 7", Payload: []byte(text), Created: time.Now()}); err != nil {
			log.Fatal(err)
		}
	}
	s, err := sender.New(q, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		if string(it.Payload) == "odd" {
			return sender.Permanent(errors.New("400 Bad Request"))
		}
		fmt.Println("sent", string(it.Payload))
		return nil
	}), nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	ran := make(chan error)
	go func() { ran <- s.Run(ctx) }()
	if err := s.Flush(ctx); err != nil {
		log.Fatal(err)
	}
	s.Stop(ctx)
	if err := <-ran; err != nil {
		log.Fatal(err)
	}
	for _, it := range q.Dead() {
		fmt.Println("dead", string(it.Payload), "because of", it.LastErr)
	}
	// Output:
	// sent placed
	// sent paid
	// dead odd because of 400 Bad Request
}
