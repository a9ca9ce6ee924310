package oteloutbox

import (
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Options are the settings of [Instrument] and [Measure]. nil and the zero value are fine.
type Options struct {
	TracerProvider trace.TracerProvider          // nil: the global one
	MeterProvider  metric.MeterProvider          // nil: the global one
	Propagator     propagation.TextMapPropagator // nil: the global one
	// Keys puts the key of an event on spans, as outbox.key. A key often names a person.
	Keys bool
	// Inline has a request continue the trace of its Put instead of linking to it, for lanes
	// without a backlog. A request of several events is still linked.
	Inline bool
}

// complete returns the options with the global providers where there are none.
func (o *Options) complete() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.Propagator == nil {
		c.Propagator = otel.GetTextMapPropagator()
	}
	return c
}

func (o *Options) tracer() trace.Tracer {
	return o.TracerProvider.Tracer(scope, trace.WithSchemaURL(schemaURL))
}

func (o *Options) meter() metric.Meter {
	return o.MeterProvider.Meter(scope, metric.WithSchemaURL(schemaURL))
}
