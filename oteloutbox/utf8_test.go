package oteloutbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// OTLP is protobuf, whose strings are UTF-8: one that is not makes an exporter lose the whole batch.
func TestTextIsUTF8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracing(t, trace.AlwaysSample())
		tr.options.Keys = true
		answers := []error{
			errors.New(strings.Repeat("x", 1<<10-1) + "é"), // is cut in the middle of a character
			sender.Throttled(errors.New("busy \xff"), 1),
			errors.New("broken \xff"),
			nil,
		}
		transport := sender.TransportFunc(func(context.Context, sender.Item) error {
			err := answers[0]
			answers = answers[1:]
			return err
		})
		var o outbox.Options
		b := outboxtest.New(t, &outboxtest.Options{Transport: oteloutbox.Instrument(&o, transport, "ma\xffil", &tr.options), Outbox: o})
		stop, err := oteloutbox.Measure(map[string]*outbox.Outbox{"ma\xffil": b.Outbox}, &tr.options)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if _, err := b.Put(t.Context(), outbox.Event{Kind: "k\xff", Key: "ann\xff"}); err != nil {
			t.Fatal(err)
		}
		b.Drain()
		valid := func(where, text string) {
			if !utf8.ValidString(text) {
				t.Errorf("%s is %q", where, text)
			}
		}
		attrs := func(where string, kvs []attribute.KeyValue) {
			for _, kv := range kvs {
				if kv.Value.Type() == attribute.STRING {
					valid(where+": "+string(kv.Key), kv.Value.AsString())
				}
			}
		}
		spans := tr.spans.GetSpans()
		if len(spans) != 5 {
			t.Errorf("%d spans, want a Put and four requests", len(spans))
		}
		for _, s := range spans {
			valid("a name", s.Name)
			valid("a status", s.Status.Description)
			attrs("a span", s.Attributes)
			for _, e := range s.Events {
				attrs("an event", e.Attributes)
			}
		}
		for series := range tr.read() {
			valid("a series", series)
		}
	})
}
