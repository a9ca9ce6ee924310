package oteloutbox_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/sender"
)

// A tracing has providers of its own, with everything in memory.
type tracing struct {
	t       *testing.T
	spans   *tracetest.InMemoryExporter
	metrics *metric.ManualReader
	options oteloutbox.Options
	tracer  api.Tracer // of the application
}

func newTracing(t *testing.T, sampler trace.Sampler) *tracing {
	tr := &tracing{t: t, spans: tracetest.NewInMemoryExporter(), metrics: metric.NewManualReader()}
	provider := trace.NewTracerProvider(trace.WithSyncer(tr.spans), trace.WithSampler(sampler))
	meters := metric.NewMeterProvider(metric.WithReader(tr.metrics))
	t.Cleanup(func() {
		provider.Shutdown(context.Background())
		meters.Shutdown(context.Background())
	})
	tr.options = oteloutbox.Options{TracerProvider: provider, MeterProvider: meters, Propagator: propagation.TraceContext{}}
	tr.tracer = provider.Tracer("application")
	return tr
}

// named returns the spans of that name, in the order in which they ended.
func (tr *tracing) named(name string) (found tracetest.SpanStubs) {
	for _, s := range tr.spans.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// one returns the only span of that name.
func (tr *tracing) one(name string) tracetest.SpanStub {
	tr.t.Helper()
	found := tr.named(name)
	if len(found) != 1 {
		tr.t.Fatalf("%d spans %q, want 1, among %v", len(found), name, tr.spans.GetSpans())
	}
	return found[0]
}

// attributes returns them as text, sorted: "a=1 b=2".
func attributes(kvs []attribute.KeyValue) string {
	all := make(map[string]string)
	for _, kv := range kvs {
		all[string(kv.Key)] = kv.Value.String()
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		parts = append(parts, k+"="+all[k])
	}
	return strings.Join(parts, " ")
}

// read returns the series of all metrics with their values, as name{attributes}. A histogram is its
// count. It checks the units.
func (tr *tracing) read() map[string]float64 {
	tr.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := tr.metrics.Collect(context.Background(), &rm); err != nil {
		tr.t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			key := func(s attribute.Set) string { return m.Name + "{" + attributes(s.ToSlice()) + "}" }
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					values[key(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					values[key(p.Attributes)] = float64(p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					values[key(p.Attributes)] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					values[key(p.Attributes)] = float64(p.Count)
				}
			default:
				tr.t.Errorf("%s is a %T", m.Name, data)
			}
			values["unit of "+m.Name+": "+m.Unit] = 1
		}
	}
	return values
}

// want compares some series. Below zero: there must be none.
func (tr *tracing) want(series map[string]float64) {
	tr.t.Helper()
	got := tr.read()
	for _, name := range slices.Sorted(maps.Keys(series)) {
		v, ok := got[name]
		switch w := series[name]; {
		case w < 0 && ok:
			tr.t.Errorf("%s is %v, and must not exist", name, v)
		case w >= 0 && (!ok || v != w):
			tr.t.Errorf("%s is %v (exists: %v), want %v", name, v, ok, w)
		}
	}
	if tr.t.Failed() {
		tr.t.Log(strings.Join(slices.Sorted(maps.Keys(got)), "\n"))
	}
}

// instrument returns the options of an outbox whose lane is instrumented as mail.
func (tr *tracing) instrument(t sender.Transport) (outbox.Options, sender.Transport) {
	var o outbox.Options
	t = oteloutbox.Instrument(&o, t, "mail", &tr.options)
	return o, t
}

func id(it sender.Item) string { return fmt.Sprint(it.ID) }
