package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// A store keeps items without a sender. Package outbox delivers them.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(filepath.Join(dir, "events.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Append(context.Background(), sender.Item{ID: uuid.New(), Kind: "signup", Key: "ann", Created: time.Now()}); err != nil {
		log.Fatal(err)
	}
	for it, err := range s.Pending() {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(it.Seq, it.Kind, it.Key)
	}
	fmt.Println("put", s.Counts().Put)
	// Output:
	// 1 signup ann
	// put 1
}
