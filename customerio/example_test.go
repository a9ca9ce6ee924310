package customerio_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

func Example() {
	service := customeriotest.NewServer(nil) // stands in for Customer.io
	defer service.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	c, err := customerio.Open(filepath.Join(dir, "customerio.db"), &customerio.Options{
		SiteID: "site", TrackKey: "track-key", // or all of it by FromEnv
		TrackURL: service.URL(),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := c.Identify(ctx, customerio.ID("17"), map[string]any{"plan": "basic"}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Track(ctx, customerio.ID("17"), "bought", map[string]any{"price": 12}); err != nil {
		log.Fatal(err)
	}
	if err := c.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	for _, op := range service.Record() {
		fmt.Println(op.Action, op.Name, op.Attributes)
	}
	// Output:
	// identify  map[plan:basic]
	// event bought map[price:12]
}
