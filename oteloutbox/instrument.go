package oteloutbox

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/semconv/v1.43.0/messagingconv"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Instrument adds tracing to o and t before outbox.Open or outbox.New, for the lane that is shown
// under name, and the three instruments of messaging clients: see the README of this package. It
// returns the transport to open the lane with, and sets o.OnPut; one that is there is called first.
// A nil t stays nil. For a customerio.Client it is called by customerio.Options.Instrument.
//
// A Put is a span named send and the lane. It is a child of the span in its context. Its own
// context goes into the event's header, unless there is one already: then the span links to that. A
// request is a span named process and the lane, linked to each Put of its events.
func Instrument(o *outbox.Options, t sender.Transport, name string, opts *Options) sender.Transport {
	l := newLane(name, opts)
	if _, unmeasured := l.o.MeterProvider.(metricnoop.MeterProvider); l.off && unmeasured {
		return t
	}
	before := o.OnPut
	o.OnPut = func(ctx context.Context, e *outbox.Event) func(uuid.UUID, error) {
		var done func(uuid.UUID, error)
		if before != nil {
			done = before(ctx, e)
		}
		ours := l.put(ctx, e)
		if done == nil {
			return ours
		}
		return func(id uuid.UUID, err error) {
			ours(id, err)
			done(id, err)
		}
	}
	return sender.Wrap(t, l.deliver)
}

// A lane is what is instrumented under a name. Nothing in it changes.
type lane struct {
	o       Options
	tracer  trace.Tracer
	off     bool // the tracer does nothing, so it is not asked
	context contexts
	puts    side
	request side

	sent     metric.Int64Counter     // messages put
	took     metric.Float64Histogram // of a Put
	duration metric.Float64Histogram // of a request
}

// A side is what all spans and measurements of Put, or of requests, have in common.
type side struct {
	span    string
	start   []trace.SpanStartOption
	attrs   []attribute.KeyValue
	success by
}

// by is what a measurement is told apart by. The slices save an allocation for each measurement.
type by struct {
	add    []metric.AddOption
	record []metric.RecordOption
}

func newBy(attrs ...attribute.KeyValue) by {
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	return by{[]metric.AddOption{set}, []metric.RecordOption{set}}
}

func newSide(span, name, operation string, operationType attribute.KeyValue, kind trace.SpanKind) side {
	attrs := []attribute.KeyValue{attrSystem.String(system), attrDestination.String(name), attrOperation.String(operation), operationType}
	return side{
		span: span + " " + name, attrs: attrs,
		start:   []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(attrs...)},
		success: newBy(slices.Clone(attrs[:3])...), // NewSet sorts them
	}
}

// by returns what a measurement is told apart by. errorType is "" for success.
func (s *side) by(errorType string) by {
	if errorType == "" {
		return s.success
	}
	return newBy(append(s.attrs[:3:3], attrErrorType.String(errorType))...)
}

func newLane(name string, opts *Options) *lane {
	name = valid(name)
	o := opts.complete()
	l := &lane{
		o: o, tracer: o.tracer(), context: contexts{o.Propagator},
		puts:    newSide("send", name, "put", typeSend, trace.SpanKindProducer),
		request: newSide("process", name, "deliver", typeProcess, trace.SpanKindConsumer),
	}
	_, l.off = o.TracerProvider.(noop.TracerProvider)
	// After an error the instrument does nothing, and the handler of OpenTelemetry is told.
	meter := o.meter()
	sent, err := messagingconv.NewClientSentMessages(meter)
	l.sent = sent.Inst()
	handle(err)
	took, err := messagingconv.NewClientOperationDuration(meter, buckets)
	l.took = took.Inst()
	handle(err)
	duration, err := messagingconv.NewProcessDuration(meter, buckets)
	l.duration = duration.Inst()
	handle(err)
	return l
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

// A putting is a Put that has begun. It is used again, so that a Put that is not traced allocates
// nothing.
type putting struct {
	l     *lane
	span  trace.Span // nil: it is not traced
	began time.Time
	done  func(uuid.UUID, error) // finish
}

var puttings = sync.Pool{New: func() any { return new(putting) }}

// put begins the span of a Put and gives the event its context.
func (l *lane) put(ctx context.Context, e *outbox.Event) (done func(uuid.UUID, error)) {
	p := puttings.Get().(*putting)
	if p.done == nil {
		p.done = p.finish
	}
	p.l, p.began, p.span = l, time.Now(), nil
	if l.off {
		return p.done
	}
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() && !parent.IsSampled() {
		if l.o.Inline { // so that the delivery is not sampled either
			l.context.add(ctx, e)
		}
		return p.done
	}
	ctx, span := l.tracer.Start(ctx, l.puts.span, l.puts.start...)
	if !span.IsRecording() {
		if l.o.Inline || span.SpanContext().IsSampled() {
			l.context.add(ctx, e)
		}
		return p.done
	}
	p.span = span
	span.SetAttributes(attrBodySize.Int(len(e.Payload)), attrKind.String(valid(e.Kind)))
	if l.o.Keys && e.Key != "" {
		span.SetAttributes(attrKey.String(valid(e.Key)))
	}
	if of, ok := l.context.of(e.Header); ok {
		span.AddLink(trace.Link{SpanContext: of})
	} else {
		l.context.add(ctx, e)
	}
	return p.done
}

// finish ends the span with what Put returns.
func (p *putting) finish(id uuid.UUID, err error) {
	l, span := p.l, p.span
	errorType := ""
	if err != nil {
		errorType = putErrorType(err)
	}
	if span != nil {
		if id != uuid.Nil {
			span.SetAttributes(attrMessageID.String(id.String()))
		}
		if err != nil {
			fail(span, errorType, valid(err.Error()))
		}
		span.End()
	}
	by := l.puts.by(errorType)
	ctx := context.Background()
	l.took.Record(ctx, time.Since(p.began).Seconds(), by.record...)
	l.sent.Add(ctx, 1, by.add...)
	p.l, p.span = nil, nil
	puttings.Put(p)
}

// fail marks a span as failed.
func fail(span trace.Span, errorType, text string) {
	span.SetAttributes(attrErrorType.String(errorType))
	span.SetStatus(codes.Error, text)
}
