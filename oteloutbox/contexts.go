package oteloutbox

import (
	"context"
	"maps"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed8107221f/outbox"
)

// contexts reads and writes the context of a span in the header of an event.
type contexts struct{ propagator propagation.TextMapPropagator }

// of returns the context in a header, if there is a valid one.
func (c contexts) of(header map[string]string) (trace.SpanContext, bool) {
	if len(header) == 0 {
		return trace.SpanContext{}, false
	}
	sc := trace.SpanContextFromContext(c.propagator.Extract(context.Background(), carrier(header)))
	return sc, sc.IsValid()
}

// add adds the context of the span in ctx to the header of e. The header may belong to the caller
// of Put, so it is copied. A context that is there stays, valid or not.
func (c contexts) add(ctx context.Context, e *outbox.Event) {
	fields := make(propagation.MapCarrier, 2)
	c.propagator.Inject(ctx, fields)
	for name := range fields {
		if name != "baggage" && carrier(e.Header).Get(name) != "" {
			return
		}
	}
	header := maps.Clone(e.Header)
	if header == nil {
		header = make(map[string]string, len(fields))
	}
	for name, value := range fields {
		if carrier(header).Get(name) == "" {
			header[name] = value
		}
	}
	e.Header = header
}

// A carrier is a header that is only read. Names of HTTP headers have no case, and those that come
// from a http.Header are capitalised.
type carrier map[string]string

func (c carrier) Get(name string) string {
	if v, ok := c[name]; ok {
		return v
	}
	for n, v := range c {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return ""
}

func (c carrier) Set(string, string) {}

func (c carrier) Keys() []string {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	return names
}
