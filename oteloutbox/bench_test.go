package oteloutbox_test

import (
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// What is around a Put costs, without what the store does.
func BenchmarkPut(b *testing.B) {
	sampled := oteloutbox.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithBatcher(tracetest.NewNoopExporter())),
		MeterProvider:  metricnoop.NewMeterProvider(), Propagator: propagation.TraceContext{},
	}
	for _, c := range []struct {
		name    string
		opts    *oteloutbox.Options
		sampled bool
	}{{"plain", nil, false}, {"not sampled", &sampled, false}, {"sampled", &sampled, true}} {
		b.Run(c.name, func(b *testing.B) {
			var o outbox.Options
			if c.opts != nil {
				oteloutbox.Instrument(&o, outboxtest.NewTransport(), "mail", c.opts)
			}
			box, err := outbox.New(new(sendertest.Memory), nil, &o)
			if err != nil {
				b.Fatal(err)
			}
			defer box.Close()
			ctx := b.Context()
			if !c.sampled {
				ctx = notSampled(ctx)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := box.PutBy(ctx, outbox.Event{Kind: "k"}, func(sender.Item) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
