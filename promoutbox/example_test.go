package promoutbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/promoutbox"
)

func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := outbox.Open(filepath.Join(dir, "events.db"), nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(context.Background(), outbox.Event{Kind: "signup"}); err != nil {
		log.Fatal(err)
	}

	c := promoutbox.NewCollector(map[string]*outbox.Outbox{"mail": b}, nil)
	defer c.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)

	families, err := registry.Gather() // a service serves promhttp.HandlerFor(registry, …)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "outbox_put_events_total" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output: outbox_put_events_total 1
}
