package salvage_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
	"github.com/seed8107221f/outbox/store/salvage"
)

// A file whose first pages were overwritten does not open, and its items can be saved.
func ExampleFile() {
	dir, err := os.MkdirTemp("", "salvage")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "events.db")
	s, err := store.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = errors.Join(s.Append(context.Background(), sender.Item{ID: uuid.New(), Kind: "signup", Created: time.Now()}), s.Close())
	if err != nil {
		log.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 2*os.Getpagesize()), 0); err != nil || f.Close() != nil { // both meta pages
		log.Fatal("cannot damage the file: ", err)
	}

	_, err = store.Open(path, nil)
	fmt.Println("damaged:", errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFormat))
	r, err := salvage.File(path, "") // in place; the damaged file keeps its bytes beside it
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("saved", r.Saved, "suspicious", r.Suspicious, "lost", r.Lost)
	// Output:
	// damaged: true
	// saved 1 suspicious 0 lost 0
}
