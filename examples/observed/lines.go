package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
)

// lines writes a line for each span: its trace, its name, why it failed, and which traces it links
// to.
type lines struct {
	mu  sync.Mutex // guards out
	out io.Writer
}

// ExportSpans is called when a span ends.
func (l *lines) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range spans {
		line := fmt.Sprintf("trace %.6s  %s", s.SpanContext().TraceID(), s.Name())
		for _, kv := range s.Attributes() {
			if kv.Key == attribute.Key("error.type") {
				line += "  " + kv.Value.AsString()
			}
		}
		var links []string
		for _, link := range s.Links() {
			links = append(links, fmt.Sprintf("%.6s", link.SpanContext.TraceID()))
		}
		if links != nil {
			line += "  for trace " + strings.Join(links, ", ")
		}
		if _, err := fmt.Fprintln(l.out, line); err != nil {
			return err
		}
	}
	return nil
}

// Shutdown has nothing to do.
func (l *lines) Shutdown(context.Context) error { return nil }
