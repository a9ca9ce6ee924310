// Durable-sdk makes go-customerio durable: what the SDK sends is stored in a file and answered with
// success; the outbox sends it later, at the pace that the service allows, across restarts and
// outages.
//
//	go run -C examples/durable-sdk . -db events.db
//
// It is a module of its own because of the SDK, so go run needs its folder, and so does a path of
// -db.
//
// All that changes for the SDK is its HTTP client. Without credentials in the environment the calls
// go to a stand-in; with CUSTOMERIO_SITE_ID and CUSTOMERIO_TRACK_API_KEY to the service, or to
// whatever CUSTOMERIO_TRACK_URL names. The exit status is 1 when calls remain or were refused.
//
// Package customerio of the outbox does more with less: batches, validation, an id for every event,
// and its RoundTripper takes the calls of this SDK. What is here is the same for any SDK.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	sdk "github.com/customerio/go-customerio/v3"
	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

func main() {
	db := flag.String("db", "", "outbox `file`; it is kept (default a temporary file)")
	people := flag.Int("people", 100, "`number` of people to identify, each with two events")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal asks, a second one kills
	if err := run(ctx, *db, *people, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run makes the calls, delivers them, and prints what became of them.
func run(ctx context.Context, db string, people int, stdout io.Writer) error {
	if db == "" {
		dir, err := os.MkdirTemp("", "durable-sdk-")
		if err != nil {
			return fmt.Errorf("durable-sdk: %w", err)
		}
		defer os.RemoveAll(dir)
		db = filepath.Join(dir, "outbox.db")
	}
	d, service := destination()
	if service != nil {
		defer service.Close()
	}
	b, err := outbox.Open(db, &httpsend.Transport{Authorize: d.authorize}, &outbox.Options{Limiter: pace()})
	if err != nil {
		return err
	}
	err = errors.Join(
		calls(ctx, sdk.NewTrackClient(d.site, d.key, sdk.WithURL(d.url), sdk.WithHTTPClient(durable(b))), people),
		b.Drain(ctx), // what remains when ctx ends is in the file, for the next run
		b.Close(),
	)
	s := b.Stats()
	fmt.Fprintf(stdout, "put=%d delivered=%d pending=%d dead=%d\n", s.Put, s.Delivered, s.Pending, s.Dead)
	if service != nil {
		fmt.Fprintln(stdout, service.Verdict())
	}
	if s.Pending > 0 || s.Dead > 0 {
		err = errors.Join(err, fmt.Errorf("durable-sdk: %d calls remain, %d were refused", s.Pending, s.Dead))
	}
	return err
}

// pace is what the vendor's guides advise: 80 requests a second, and never above 100 in any second.
func pace() *limiter.Limiter {
	l := limiter.Within(100, time.Second)
	l.PerSecond, l.Burst = 80, 10
	return l
}

// durable returns the client that the SDK is given. Calls for one customer keep their order.
func durable(b *outbox.Outbox) *http.Client {
	return &http.Client{Transport: &httpsend.Durable{
		Put: func(req *http.Request, header map[string]string, body []byte) (uuid.UUID, error) {
			return b.Put(req.Context(), outbox.Event{Kind: "http", Key: customer(req), Header: header, Payload: body})
		},
		Status: http.StatusOK, // the SDK takes nothing else for success
	}}
}

// customer is the person that a call of the Track API is about: /api/v1/customers/{id}/….
func customer(req *http.Request) string {
	path, found := strings.CutPrefix(req.URL.EscapedPath(), "/api/v1/customers/")
	if !found {
		return "" // nobody in particular: no order
	}
	id, _, _ := strings.Cut(path, "/")
	return id
}

// calls is the application: it knows nothing of the outbox.
func calls(ctx context.Context, c *sdk.CustomerIO, people int) error {
	for i := range people {
		id := fmt.Sprint("customer-", i)
		err := c.IdentifyCtx(ctx, id, map[string]any{"plan": "basic"})
		for n := range 2 {
			// With an id of its own the service knows an event that arrives twice.
			err = errors.Join(err, c.TrackCtx(ctx, id, "bought", map[string]any{"n": n},
				sdk.WithEventID(eventID()), sdk.WithEventTimestamp(time.Now())))
		}
		if err != nil {
			return fmt.Errorf("durable-sdk: %w", err)
		}
	}
	return nil
}

// eventID makes a ULID of 125 random bits: 26 characters of Crockford's alphabet.
func eventID() string {
	random := make([]byte, 26)
	rand.Read(random) // never fails
	for i, b := range random {
		random[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[b&31]
	}
	random[0] = '0' // above 7 it would not fit into 128 bits
	return string(random)
}

// A target is where the calls go, and with which credentials.
type target struct{ url, site, key string }

// destination is the service if the environment has credentials, else a stand-in that the caller
// closes.
func destination() (target, *customeriotest.Server) {
	d := target{os.Getenv("CUSTOMERIO_TRACK_URL"), os.Getenv("CUSTOMERIO_SITE_ID"), os.Getenv("CUSTOMERIO_TRACK_API_KEY")}
	if d.site == "" || d.key == "" {
		s := customeriotest.NewServer(nil)
		return target{s.URL(), "site", "track-key"}, s
	}
	if d.url == "" {
		d.url = "https://track.customer.io"
	}
	return d, nil
}

// authorize puts the credentials back, which were not stored, for this destination alone.
func (d target) authorize(req *http.Request) error {
	if !strings.HasPrefix(req.URL.String(), d.url+"/") {
		return errors.New("durable-sdk: the call was stored for another host")
	}
	req.SetBasicAuth(d.site, d.key)
	return nil
}
