// Observed is the program of docs/observe.md: an outbox with a page for people, metrics for
// Prometheus and traces of OpenTelemetry. Its destination refuses the credentials for a while, so
// that there is something to see.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/promoutbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where the page and the metrics are served")
	outage := flag.Duration("outage", 30*time.Second, "how long the destination refuses the credentials")
	lasts := flag.Duration("for", 0, "how long to run; 0: until an interrupt")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *lasts)
		defer cancel()
	}
	dir, err := os.MkdirTemp("", "observed-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	var d destination
	d.down.Store(*outage > 0)
	time.AfterFunc(*outage, func() { d.down.Store(false) })
	fmt.Printf("page    http://%s/outbox/\nmetrics http://%s/metrics\n", l.Addr(), l.Addr())
	if err := run(ctx, l, filepath.Join(dir, "events.db"), &d, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// A destination accepts what it gets, unless it is down: then it refuses the credentials.
type destination struct{ down atomic.Bool }

func (d *destination) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if d.down.Load() {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// run puts an event every half second, and serves page and metrics on l, until ctx ends.
func run(ctx context.Context, l net.Listener, path string, d *destination, out io.Writer) error {
	receiver := httptest.NewServer(d)
	defer receiver.Close()
	send := func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, "POST", receiver.URL, bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err)
		}
		_, err = httpsend.Do(nil, req)
		return err
	}

	// Traces. A service has an exporter of OTLP here, and a batcher.
	provider := trace.NewTracerProvider(trace.WithSyncer(&lines{out: out}))
	defer provider.Shutdown(context.Background())

	o := &outbox.Options{Limiter: limiter.Within(100, time.Second)}
	t := oteloutbox.Instrument(o, sender.TransportFunc(send), "mail", &oteloutbox.Options{
		TracerProvider: provider, Propagator: propagation.TraceContext{},
	})
	b, err := outbox.Open(path, t, o)
	if err != nil {
		return err
	}
	defer b.Close()

	lanes := map[string]*outbox.Outbox{"mail": b}
	mux := http.NewServeMux()

	m, err := monitor.New(lanes, nil)
	if err != nil {
		return err
	}
	defer m.Close()
	mux.Handle("/outbox/", m)

	c := promoutbox.NewCollector(lanes, nil)
	defer c.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	server := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() { server.Close(); <-served }()

	application := provider.Tracer("application")
	for tick := time.Tick(500 * time.Millisecond); ; {
		ctx, span := application.Start(ctx, "sign up")
		_, err := b.Put(ctx, outbox.Event{Kind: "signup", Payload: []byte(`{"plan":"basic"}`)})
		span.End()
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}
