package oteloutbox_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// A Put and its delivery are two traces with one link, over an outage of hours and a restart.
func TestLink(t *testing.T) {
	for name, restart := range map[string]func(*outboxtest.Outbox){
		"at once": func(*outboxtest.Outbox) {},
		"restart": (*outboxtest.Outbox).Restart,
		"crash":   (*outboxtest.Outbox).Crash,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTracing(t, trace.AlwaysSample())
				sent := outboxtest.NewTransport()
				o, transport := tr.instrument(sent)
				b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
				ctx, app := tr.tracer.Start(t.Context(), "sign up")
				if _, err := b.Put(ctx, outbox.Event{Kind: "signup", Key: "ann", Payload: []byte("12345"), NotBefore: time.Now().Add(5 * time.Hour)}); err != nil {
					t.Fatal(err)
				}
				app.End()
				restart(b)
				r := b.Drain()
				if len(r.Delivered) != 1 {
					t.Fatalf("%+v", r)
				}
				it := r.Delivered[0]
				put, process := tr.one("send mail"), tr.one("process mail")
				if put.SpanKind != api.SpanKindProducer || put.Parent.SpanID() != app.SpanContext().SpanID() || len(put.Links) != 0 {
					t.Errorf("put is a %v below %v with %d links", put.SpanKind, put.Parent.SpanID(), len(put.Links))
				}
				if got, want := attributes(put.Attributes), "messaging.destination.name=mail messaging.message.body.size=5 messaging.message.id="+id(it)+
					" messaging.operation.name=put messaging.operation.type=send messaging.system=outbox outbox.kind=signup"; got != want {
					t.Errorf("put has\n%s, want\n%s", got, want)
				}
				if process.SpanKind != api.SpanKindConsumer || process.Parent.IsValid() || process.SpanContext.TraceID() == put.SpanContext.TraceID() {
					t.Errorf("process is a %v below %v in trace %v", process.SpanKind, process.Parent.SpanID(), process.SpanContext.TraceID())
				}
				if got, want := attributes(process.Attributes), "messaging.destination.name=mail messaging.message.body.size=5 messaging.message.id="+id(it)+
					" messaging.operation.name=deliver messaging.operation.type=process messaging.system=outbox outbox.attempt=1 outbox.kind=signup"; got != want {
					t.Errorf("process has\n%s, want\n%s", got, want)
				}
				if len(process.Links) != 1 || process.Links[0].SpanContext.SpanID() != put.SpanContext.SpanID() || process.Links[0].SpanContext.TraceID() != put.SpanContext.TraceID() {
					t.Errorf("process has the links %+v, want one to %v", process.Links, put.SpanContext)
				}
				if put.Status.Code != codes.Unset || process.Status.Code != codes.Unset {
					t.Errorf("status %v and %v", put.Status, process.Status)
				}
				if wait := process.StartTime.Sub(put.EndTime); wait < 5*time.Hour {
					t.Errorf("process began %v after put had ended", wait)
				}
				if schema := process.InstrumentationScope.SchemaURL; !strings.HasSuffix(schema, "/1.43.0") {
					t.Errorf("schema %s", schema)
				}
			})
		})
	}
}

// A batch has a link for each of its events, and no more than the SDK keeps.
func TestBatch(t *testing.T) {
	for _, c := range []struct{ events, links int }{{100, 100}, {200, 128}} {
		synctest.Test(t, func(t *testing.T) {
			tr := newTracing(t, trace.AlwaysSample())
			sent := outboxtest.NewTransport()
			sent.Batch(1000, 1<<20)
			o, transport := tr.instrument(sent)
			b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
			if err := b.Pause(t.Context(), sender.Pause{}); err != nil {
				t.Fatal(err)
			}
			ids, err := b.PutAll(t.Context(), slices.Repeat([]outbox.Event{{Kind: "k"}}, c.events)...)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.Drain()
			if n := len(tr.named("send mail")); n != c.events {
				t.Errorf("%d spans of Put, want %d", n, c.events)
			}
			process := tr.one("process mail")
			if len(process.Links) != c.links || process.DroppedLinks != 0 {
				t.Errorf("%d links and %d dropped, want %d", len(process.Links), process.DroppedLinks, c.links)
			}
			named := make(map[string]bool)
			for _, l := range process.Links {
				named[attributes(l.Attributes)] = true
			}
			if len(named) != c.links || !named["messaging.message.id="+ids[0].String()] {
				t.Errorf("the links name %d events", len(named))
			}
			got := attributes(process.Attributes)
			for _, want := range []string{"messaging.batch.message_count=", "outbox.attempt=1"} {
				if !strings.Contains(got, want) {
					t.Errorf("process has %s, want %s", got, want)
				}
			}
			if strings.Contains(got, "message.id") || strings.Contains(got, "outbox.kind") {
				t.Errorf("the span of a batch names one event: %s", got)
			}
		})
	}
}

// A context that the caller set stays, however it is written. Put and delivery link to it.
func TestOwnContext(t *testing.T) {
	const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, c := range map[string]struct {
		header map[string]string
		links  int
	}{
		"lower":   {map[string]string{"traceparent": own, "a": "b"}, 1},
		"http":    {map[string]string{"Traceparent": own}, 1},
		"garbage": {map[string]string{"traceparent": "garbage"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracing(t, trace.AlwaysSample())
			o, transport := tr.instrument(outboxtest.NewTransport())
			b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
			before := len(c.header)
			if _, err := b.Put(t.Context(), outbox.Event{Kind: "k", Header: c.header}); err != nil {
				t.Fatal(err)
			}
			r := b.Drain()
			if len(r.Delivered) != 1 || len(r.Delivered[0].Header) != before || len(c.header) != before {
				t.Fatalf("delivered %+v, want the header %v", r.Delivered, c.header)
			}
			for k, v := range c.header {
				if r.Delivered[0].Header[k] != v {
					t.Errorf("%s is %q, want %q", k, r.Delivered[0].Header[k], v)
				}
			}
			for _, name := range []string{"send mail", "process mail"} {
				s := tr.one(name)
				if len(s.Links) != c.links || c.links == 1 && s.Links[0].SpanContext.SpanID().String() != "b7ad6b7169203331" {
					t.Errorf("%s has the links %+v", name, s.Links)
				}
			}
		})
	}
}

// The caller's map is not changed.
func TestHeaderIsCopied(t *testing.T) {
	tr := newTracing(t, trace.AlwaysSample())
	o, transport := tr.instrument(outboxtest.NewTransport())
	b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
	header := map[string]string{"content-type": "text/plain"}
	if _, err := b.Put(t.Context(), outbox.Event{Kind: "k", Header: header}); err != nil {
		t.Fatal(err)
	}
	if len(header) != 1 {
		t.Errorf("the header became %v", header)
	}
	got := b.Drain().Delivered[0].Header
	if got["traceparent"] == "" || got["content-type"] != "text/plain" {
		t.Errorf("the event has %v", got)
	}
}

// status is an error with a status of HTTP.
type status int

func (s status) Error() string { return http.StatusText(int(s)) }
func (s status) Status() int   { return int(s) }

// Each answer of a transport has its error.type. Those that are the system working are no errors.
func TestErrorTypes(t *testing.T) {
	plain := errors.New("reason")
	for name, c := range map[string]struct {
		answer func() error
		code   codes.Code
	}{
		"throttled":   {func() error { return sender.Throttled(plain, time.Second) }, codes.Unset},
		"later":       {func() error { return sender.Later(plain, time.Second) }, codes.Unset},
		"unavailable": {func() error { return sender.Unavailable(plain) }, codes.Error},
		"permanent":   {func() error { return sender.Permanent(plain) }, codes.Error},
		"timeout":     {func() error { return context.DeadlineExceeded }, codes.Error},
		"500":         {func() error { return status(500) }, codes.Error},
		"_OTHER":      {func() error { return plain }, codes.Error},
		"panic":       {func() error { panic("secret") }, codes.Error},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTracing(t, trace.AlwaysSample())
				first := true
				o, transport := tr.instrument(sender.TransportFunc(func(context.Context, sender.Item) error {
					if first {
						first = false
						return c.answer()
					}
					return nil
				}))
				b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
				if _, err := b.Put(t.Context(), outbox.Event{Kind: "k"}); err != nil {
					t.Fatal(err)
				}
				b.Drain()
				s := tr.named("process mail")[0]
				if got := attributes(s.Attributes); !strings.HasPrefix(got, "error.type="+name+" ") || s.Status.Code != c.code {
					t.Errorf("it has %s and %v, want %v", got, s.Status, c.code)
				}
				if strings.Contains(s.Status.Description, "secret") {
					t.Errorf("the value of a panic is in %q", s.Status.Description)
				}
				if n := len(s.Events); (n == 1) != (c.code == codes.Unset) {
					t.Errorf("%d events of the span", n)
				}
				if again := tr.named("process mail"); name != "permanent" && (len(again) < 2 || !again[len(again)-1].EndTime.After(s.EndTime)) {
					t.Errorf("%d requests", len(again))
				}
				tr.want(map[string]float64{"messaging.process.duration{error.type=" + name + " messaging.destination.name=mail messaging.operation.name=deliver messaging.system=outbox}": 1})
			})
		})
	}
}

// Attempts count from one. A Put that fails is an error.
func TestAttemptsAndFailedPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracing(t, trace.AlwaysSample())
		o, transport := tr.instrument(outboxtest.NewTransport(outboxtest.Fail("500"), outboxtest.Fail("500")))
		b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
		b.Put(t.Context(), outbox.Event{Kind: "k"})
		b.Drain()
		var attempts []string
		for _, s := range tr.named("process mail") {
			_, after, _ := strings.Cut(attributes(s.Attributes), "outbox.attempt=")
			attempts = append(attempts, after[:1])
		}
		if !slices.Equal(attempts, []string{"1", "2", "3"}) {
			t.Errorf("attempts %q", attempts)
		}
		b.FullDisk(true)
		if _, err := b.Put(t.Context(), outbox.Event{Kind: "k"}); !errors.Is(err, outbox.ErrFull) {
			t.Fatal(err)
		}
		failed := tr.named("send mail")[1]
		if failed.Status.Code != codes.Error || !strings.Contains(attributes(failed.Attributes), "error.type=full ") {
			t.Errorf("%v, %s", failed.Status, attributes(failed.Attributes))
		}
		const put = "messaging.destination.name=mail messaging.operation.name=put messaging.system=outbox}"
		tr.want(map[string]float64{
			"messaging.client.sent.messages{" + put:                      1,
			"messaging.client.sent.messages{error.type=full " + put:      1,
			"messaging.client.operation.duration{" + put:                 1,
			"messaging.client.operation.duration{error.type=full " + put: 1,
			"unit of messaging.client.sent.messages: {message}":          1,
			"unit of messaging.client.operation.duration: s":             1,
			"unit of messaging.process.duration: s":                      1,
		})
	})
}

// The span of a request is in the context of the transport, so its client's span is a child.
func TestTransportIsBelow(t *testing.T) {
	tr := newTracing(t, trace.AlwaysSample())
	o, transport := tr.instrument(sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
		_, s := tr.tracer.Start(ctx, "POST")
		s.End()
		return nil
	}))
	b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
	b.Put(t.Context(), outbox.Event{Kind: "k"})
	b.Drain()
	if client, process := tr.one("POST"), tr.one("process mail"); client.Parent.SpanID() != process.SpanContext.SpanID() {
		t.Errorf("the client's span is below %v", client.Parent.SpanID())
	}
}

// Inline continues the trace of the Put, except for batches.
func TestInline(t *testing.T) {
	for items, links := range map[int]int{1: 0, 2: 2} {
		tr := newTracing(t, trace.ParentBased(trace.AlwaysSample()))
		tr.options.Inline = true
		sent := outboxtest.NewTransport()
		sent.Batch(10, 1<<20)
		o, transport := tr.instrument(sent)
		b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
		if err := b.Pause(t.Context(), sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PutAll(t.Context(), slices.Repeat([]outbox.Event{{Kind: "k"}}, items)...); err != nil {
			t.Fatal(err)
		}
		if err := b.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Drain()
		put, process := tr.named("send mail")[0], tr.one("process mail")
		if len(process.Links) != links {
			t.Errorf("%d events: %d links, want %d", items, len(process.Links), links)
		}
		if same := process.Parent.SpanID() == put.SpanContext.SpanID() && process.SpanContext.TraceID() == put.SpanContext.TraceID(); same != (items == 1) {
			t.Errorf("%d events: the request is below its Put: %v", items, same)
		}
	}
}

// What is not sampled at Put is not sampled at its inline delivery, and leaves no context otherwise.
func TestNotSampled(t *testing.T) {
	for _, inline := range []bool{false, true} {
		tr := newTracing(t, trace.ParentBased(trace.AlwaysSample()))
		tr.options.Inline = inline
		o, transport := tr.instrument(outboxtest.NewTransport())
		b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
		if _, err := b.Put(notSampled(t.Context()), outbox.Event{Kind: "k"}); err != nil {
			t.Fatal(err)
		}
		it := b.Drain().Delivered[0]
		if n := len(tr.named("send mail")); n != 0 {
			t.Errorf("inline %v: %d spans of Put", inline, n)
		}
		if n := len(tr.named("process mail")); (n == 0) != inline {
			t.Errorf("inline %v: %d spans of requests", inline, n)
		}
		if has := it.Header["traceparent"] != ""; has != inline {
			t.Errorf("inline %v: the event has %v", inline, it.Header)
		}
	}
}

// notSampled returns a context with a span that is not sampled.
func notSampled(ctx context.Context) context.Context {
	return api.ContextWithSpanContext(ctx, api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{1}, SpanID: api.SpanID{1}}))
}

// Keys are on spans only if asked for.
func TestKeys(t *testing.T) {
	for _, keys := range []bool{false, true} {
		tr := newTracing(t, trace.AlwaysSample())
		tr.options.Keys = keys
		o, transport := tr.instrument(outboxtest.NewTransport())
		b := outboxtest.New(t, &outboxtest.Options{Transport: transport, Outbox: o})
		b.Put(t.Context(), outbox.Event{Kind: "k", Key: "ann", Payload: []byte("payload")})
		b.Drain()
		for _, name := range []string{"send mail", "process mail"} {
			got := attributes(tr.one(name).Attributes)
			if strings.Contains(got, "outbox.key=ann") != keys || strings.Contains(got, "ann") != keys || strings.Contains(got, "=payload") {
				t.Errorf("keys %v: %s has %s", keys, name, got)
			}
		}
	}
}

// Where nothing is sampled, what is around Put allocates nothing of its own.
func TestAllocations(t *testing.T) {
	event := outbox.Event{ID: uuid.New(), Kind: "k"}
	allocations := func(ctx context.Context, opts *oteloutbox.Options) float64 {
		var o outbox.Options
		if opts != nil {
			oteloutbox.Instrument(&o, outboxtest.NewTransport(), "mail", opts)
		}
		box, err := outbox.New(new(sendertest.Memory), nil, &o)
		if err != nil {
			t.Fatal(err)
		}
		defer box.Close()
		return testing.AllocsPerRun(1000, func() { box.PutBy(ctx, event, func(sender.Item) error { return nil }) })
	}
	tr := newTracing(t, trace.ParentBased(trace.AlwaysSample()))
	none := allocations(t.Context(), nil)
	if n := allocations(notSampled(t.Context()), &tr.options); n != none {
		t.Errorf("a parent that is not sampled: %v allocations, %v without tracing", n, none)
	}
	off := oteloutbox.Options{TracerProvider: noop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(), Propagator: propagation.TraceContext{}}
	if n := allocations(t.Context(), &off); n != none {
		t.Errorf("tracing switched off: %v allocations, %v without it", n, none)
	}
	off.MeterProvider = tr.options.MeterProvider
	if n := allocations(t.Context(), &off); n != none {
		t.Errorf("only measured: %v allocations, %v without it", n, none)
	}
	// Without a parent the sampler has to be asked. What that costs is the SDK's own.
	never := newTracing(t, trace.NeverSample())
	as := []api.SpanStartOption{api.WithSpanKind(api.SpanKindProducer), api.WithAttributes(attribute.Int("a", 1))}
	sdk := testing.AllocsPerRun(1000, func() { _, s := never.tracer.Start(t.Context(), "x", as...); s.End() })
	if n := allocations(t.Context(), &never.options); n > none+sdk {
		t.Errorf("never sampled: %v allocations, %v without tracing and %v of the SDK", n, none, sdk)
	}
}

// customerio.Client is traced lane by lane.
func TestCustomerIO(t *testing.T) {
	tr := newTracing(t, trace.AlwaysSample())
	server := customeriotest.NewServer(nil)
	t.Cleanup(server.Close)
	o := customerio.Options{
		SiteID: "site", TrackKey: "track-key", TrackURL: server.URL(),
		Instrument: func(name customerio.Lane, o *outbox.Options, t sender.Transport) sender.Transport {
			return oteloutbox.Instrument(o, t, string(name), &tr.options)
		},
	}
	c, err := customerio.Open(t.TempDir()+"/customerio.db", &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	stop, err := oteloutbox.Measure(c.Outboxes(), &tr.options)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, err := c.Identify(t.Context(), customerio.ID("17"), map[string]any{"plan": "basic"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Lane(customerio.LaneTrack).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	put, process := tr.one("send track"), tr.one("process track")
	if len(process.Links) != 1 || process.Links[0].SpanContext.SpanID() != put.SpanContext.SpanID() {
		t.Errorf("process has the links %+v", process.Links)
	}
	tr.want(map[string]float64{
		"outbox.events.delivered{messaging.destination.name=track}":  1,
		"outbox.events.delivered{messaging.destination.name=import}": 0,
	})
}
