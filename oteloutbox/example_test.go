package oteloutbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/sender"
)

func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	transport := sender.TransportFunc(func(context.Context, sender.Item) error { return nil })
	spans := tracetest.NewInMemoryExporter() // a service has one for OTLP
	opts := &oteloutbox.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithSyncer(spans)),
		Propagator:     propagation.TraceContext{},
	}

	o := new(outbox.Options)
	b, err := outbox.Open(filepath.Join(dir, "events.db"), oteloutbox.Instrument(o, transport, "mail", opts), o)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Put(ctx, outbox.Event{Kind: "signup"}); err != nil {
		log.Fatal(err)
	}
	if err := b.Drain(ctx); err != nil {
		log.Fatal(err)
	}
	if err := b.Close(); err != nil {
		log.Fatal(err)
	}

	all := spans.GetSpans() // in the order in which they ended
	for _, name := range []string{"send mail", "process mail"} {
		for _, s := range all {
			if s.Name == name {
				fmt.Println(s.Name, s.SpanKind, "links:", len(s.Links))
			}
		}
	}
	// Output:
	// send mail producer links: 0
	// process mail consumer links: 1
}

func ExampleMeasure() {
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
	lanes := map[string]*outbox.Outbox{"mail": b}
	meters := metric.NewMeterProvider() // a service has a reader here, for OTLP

	stop, err := oteloutbox.Measure(lanes, &oteloutbox.Options{MeterProvider: meters})
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	fmt.Println("measured")
	// Output: measured
}

func Example_customerio() {
	o := customerio.Options{SiteID: "site", TrackKey: "key"}

	o.Instrument = func(name customerio.Lane, o *outbox.Options, t sender.Transport) sender.Transport {
		return oteloutbox.Instrument(o, t, string(name), nil)
	}

	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := customerio.Open(filepath.Join(dir, "customerio.db"), &o)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	stop, err := oteloutbox.Measure(c.Outboxes(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	fmt.Println(len(c.Outboxes()), "lanes")
	// Output: 4 lanes
}
