package oteloutbox

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/seed8107221f/outbox/sender"
)

// observer returns what hears of the outcomes of a lane.
func observer() func(*sender.Outcome) {
	o := Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))}
	m, l := newMeter(o.meter()), newMeasured("mail", nil)
	return func(o *sender.Outcome) { m.outcome(l, o) }
}

var delivered = sender.Outcome{
	Verdict: sender.Delivered, Request: 1, Started: time.Now(), Took: time.Millisecond,
	Item: sender.Item{Kind: "k", Created: time.Now()},
}

// Observing allocates nothing.
func TestObserveAllocates(t *testing.T) {
	observe := observer()
	if n := testing.AllocsPerRun(1000, func() { observe(&delivered) }); n != 0 {
		t.Errorf("%v allocations an outcome", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	observe := observer()
	b.ReportAllocs()
	for b.Loop() {
		observe(&delivered)
	}
}
