package oteloutbox

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// maxLinks is how many links a span may have by default, in the SDK too.
const maxLinks = 128

// deliver is around each request of the lane.
func (l *lane) deliver(ctx context.Context, items []sender.Item, send func(context.Context, []sender.Item) []error) (errs []error) {
	ctx, span := l.startRequest(ctx, items)
	began := time.Now()
	returned := false
	defer func() { // a panic goes on to the sender, which recovers it
		errorType, working, text := "panic", false, "the transport panicked"
		if returned {
			errorType, working, text = judge(errs)
		}
		switch {
		case errorType == "":
		case working:
			span.SetAttributes(attrErrorType.String(errorType))
			span.AddEvent(errorType, trace.WithAttributes(attribute.String("outbox.reason", text)))
		default:
			fail(span, errorType, text)
		}
		span.End()
		l.duration.Record(ctx, time.Since(began).Seconds(), l.request.by(errorType).record...)
	}()
	errs = send(ctx, items)
	returned = true
	return errs
}

// startRequest starts the span of a request, with a link for each event that knows its Put.
func (l *lane) startRequest(ctx context.Context, items []sender.Item) (context.Context, trace.Span) {
	if l.off {
		return ctx, noop.Span{}
	}
	attrs := make([]attribute.KeyValue, 0, 5)
	attempt := 0
	for i := range items {
		attempt = max(attempt, items[i].Failures+1)
	}
	attrs = append(attrs, attrAttempt.Int(attempt))
	if len(items) == 1 {
		it := &items[0]
		attrs = append(attrs, attrMessageID.String(it.ID.String()), attrBodySize.Int(len(it.Payload)), attrKind.String(valid(it.Kind)))
		if l.o.Keys && it.Key != "" {
			attrs = append(attrs, attrKey.String(valid(it.Key)))
		}
	} else {
		attrs = append(attrs, attrBatch.Int(len(items)))
	}
	start := append(l.request.start[:len(l.request.start):len(l.request.start)], trace.WithAttributes(attrs...))
	if l.o.Inline && len(items) == 1 {
		if of, ok := l.context.of(items[0].Header); ok {
			return l.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, of), l.request.span, start...)
		}
	}
	var links []trace.Link
	for i := range items {
		if len(links) == maxLinks {
			break
		}
		if of, ok := l.context.of(items[i].Header); ok {
			links = append(links, trace.Link{SpanContext: of, Attributes: []attribute.KeyValue{attrMessageID.String(items[i].ID.String())}})
		}
	}
	return l.tracer.Start(ctx, l.request.span, append(start, trace.WithNewRoot(), trace.WithLinks(links...))...)
}

// judge returns the error.type of a request, "" for success, whether that is the system working and
// no failure, and the text of the error. Of a batch the first failure counts, or else the first
// error.
func judge(errs []error) (errorType string, working bool, text string) {
	for _, err := range errs {
		if err == nil {
			continue
		}
		t, w := errorTypeOf(err)
		if !w || errorType == "" {
			errorType, working, text = t, w, textOf(err)
		}
		if !w {
			break
		}
	}
	return errorType, working, text
}

// errorTypeOf returns the error.type of what a transport returned, and whether it is the system
// working.
func errorTypeOf(err error) (errorType string, working bool) {
	switch mark, _ := sender.Classify(err); mark {
	case sender.MarkThrottled, sender.MarkLater, sender.MarkSplit:
		return string(mark), true
	case sender.MarkUnavailable, sender.MarkPermanent:
		return string(mark), false
	}
	defer func() {
		if recover() != nil { // the error panics when it is looked into
			errorType, working = errorOther, false
		}
	}()
	var answered interface{ Status() int } // httpsend.StatusError is one
	if errors.As(err, &answered) {
		return strconv.Itoa(answered.Status()), false
	}
	if timeout := net.Error(nil); errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "timeout", false
	}
	return errorOther, false
}

// putErrorType returns the error.type of an error of Put.
func putErrorType(err error) string {
	for _, known := range [...]struct {
		err  error
		name string
	}{
		{outbox.ErrInvalid, "invalid"}, {outbox.ErrTooLarge, "too_large"}, {outbox.ErrFull, "full"},
		{outbox.ErrClosed, "closed"}, {outbox.ErrStorage, "storage"},
		{context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return errorOther
}

// valid returns text as OTLP has to have it, UTF-8: an exporter loses the whole batch over one that
// is not.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// textOf returns the text of an error of a transport, which may panic, cut as the sender cuts it.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = "the error panics"
		}
	}()
	const most = 1 << 10
	text = err.Error()
	return valid(text[:min(len(text), most)])
}
