// Package oteloutbox has outboxes traced and measured by OpenTelemetry.
//
// [Instrument] adds spans to one lane: one for each Put, and one for each request. Between the two
// may lie hours and a restart. So the request has a trace of its own, which links to the Put: no
// span is open in between, and neither trace depends on whether the other one was sampled. The
// context of the Put lies in the header of the event, on disk. [Measure] adds instruments for
// lanes.
//
//	o := &outbox.Options{Limiter: limiter.Within(100, time.Second)}
//	t = oteloutbox.Instrument(o, t, "mail", nil)
//	b, err := outbox.Open("events.db", t, o)
//	if err != nil {
//		return err
//	}
//	stop, err := oteloutbox.Measure(map[string]*outbox.Outbox{"mail": b}, nil)
//
// Names are those of the semantic conventions for messaging
// (https://opentelemetry.io/docs/specs/semconv/messaging/), version 1.43.0, which are in
// development: a later version of this package may follow their changes. The README of this package
// lists spans and instruments.
//
// # Caveats
//
// No span or metric carries a payload. Keys often name people, so spans have them only with
// [Options].Keys. The texts of errors are those of the transport.
//
// A Put makes no span if the span in its context is not sampled, as the default sampler decides. It
// then adds no context to the event, and allocates nothing. Without a span in the context the
// sampler is asked.
//
// With [Options].Inline a delivery continues the trace of its Put. Use it for lanes without a
// backlog: a trace that lasts for hours is hard to read, and most backends close it earlier.
package oteloutbox
