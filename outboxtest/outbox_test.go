package outboxtest_test

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// put puts an event of this kind and key.
func put(t testing.TB, b *outboxtest.Outbox, kind, key string) uuid.UUID {
	t.Helper()
	id, err := b.Put(context.Background(), outbox.Event{Kind: kind, Key: key, Payload: []byte(`{"plan":"basic"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func names(items []sender.Item) string {
	var all []string
	for _, it := range items {
		all = append(all, strings.TrimPrefix(it.Key+"/"+it.Kind, "/"))
	}
	return strings.Join(all, " ")
}

// An app is a program with an outbox.
type app struct{ b *outbox.Outbox }

func (a app) signUp(who string) error {
	_, err := a.b.Put(context.Background(), outbox.Event{Kind: "signup", Key: who, Payload: []byte(`{"plan":"basic"}`)})
	return err
}

// The producer alone, as an application has it.
func TestSignupIsDelivered(t *testing.T) {
	b := outboxtest.New(t, nil)
	app := app{b.Outbox}
	app.signUp("ann@example.org")
	b.RequirePut(outboxtest.Want{Kind: "signup", Key: "ann@example.org", Payload: map[string]any{"plan": "basic"}})
	if r := b.Drain(); len(r.Delivered) != 1 {
		t.Errorf("delivered %d", len(r.Delivered))
	}
}

// A transport of one's own against the strict vendor, in no time.
func TestRetryAfterOfTenHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Limit: 100, Window: time.Second, RetryAfter: outboxtest.RFC850, IDHeader: "Idempotency-Key", Key: byKey})
		v.Script(outboxtest.Fault{Status: 429, RetryAfter: 10 * time.Hour})
		b := outboxtest.New(t, &outboxtest.Options{Transport: vendor{v}, Outbox: outbox.Options{Limiter: limiter.Within(100, time.Second)}})
		for i := range 500 {
			b.Put(t.Context(), outbox.Event{Kind: "k", Key: strconv.Itoa(i % 7)})
		}
		if r := b.Drain(); r.Took < 10*time.Hour || len(r.Delivered) != 500 || r.Requests < 501 {
			t.Errorf("went on after %v, delivered %d with %d requests", r.Took, len(r.Delivered), r.Requests)
		}
		v.RequireManners()
	})
}

func byKey(r *http.Request, _ []byte) string { return r.URL.Query().Get("key") }

// A vendor is a transport for a Receiver.
type vendor struct{ v *outboxtest.Receiver }

func (d vendor) Send(ctx context.Context, it sender.Item) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.v.URL+"/events?key="+it.Key, bytes.NewReader(it.Payload))
	if err != nil {
		return sender.Permanent(err)
	}
	req.Header.Set("Idempotency-Key", it.ID.String())
	_, err = httpsend.Do(d.v.Client(), req)
	return err
}

// An outage buries nothing, nor does a crash in the middle of it. What is refused dies alone, and is
// mended.
func TestOutageBuriesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.Outage(0, 3*time.Hour) // comes before all scripts
		tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Refuse("400: no name"))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr})
		b.Put(t.Context(), outbox.Event{Kind: "odd"})
		b.Put(t.Context(), outbox.Event{Kind: "good"})
		time.Sleep(time.Hour)
		b.Crash()
		b.Drain()
		b.RequireDelivered(outboxtest.Want{Kind: "good"})
		b.Revive(t.Context(), b.RequireDead(outboxtest.Want{Kind: "odd"}))
		b.Drain()
		b.RequireDelivered(outboxtest.Want{Kind: "odd"})
	})
}
