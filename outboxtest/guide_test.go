package outboxtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
)

// What docs/testing.md shows is in this file, and so is tested.

func TestGuideIsTested(t *testing.T) {
	guide, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	this, err := os.ReadFile("guide_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(guide), "```go\n")[1:]
	for _, block := range blocks {
		if code, _, _ := strings.Cut(block, "```"); !strings.Contains(string(this), code) {
			t.Errorf("docs/testing.md has code that is not in guide_test.go:\n%s", code)
		}
	}
	if len(blocks) < 4 {
		t.Errorf("docs/testing.md has %d blocks of code", len(blocks))
	}
}

// An application, which puts.
type app struct{ events *outbox.Outbox }

func newApp(events *outbox.Outbox) *app { return &app{events} }

func (a *app) signUp(ctx context.Context, who string) error {
	body, err := json.Marshal(map[string]string{"plan": "basic"})
	if err != nil {
		return err
	}
	_, err = a.events.Put(ctx, outbox.Event{Kind: "signup", Key: who, Payload: body})
	return err
}

func TestSignupIsDelivered(t *testing.T) {
	b := outboxtest.New(t, nil)
	app := newApp(b.Outbox)
	if err := app.signUp(t.Context(), "ann@example.org"); err != nil {
		t.Fatal(err)
	}
	b.RequirePut(outboxtest.Want{Kind: "signup", Key: "ann@example.org", Payload: map[string]any{"plan": "basic"}})
	if r := b.Drain(); len(r.Delivered) != 1 {
		t.Errorf("delivered %d", len(r.Delivered))
	}
}

func TestSignupOnAFullDisk(t *testing.T) {
	b := outboxtest.New(t, nil)
	b.FullDisk(true)
	if err := newApp(b.Outbox).signUp(t.Context(), "ann@example.org"); !errors.Is(err, outbox.ErrFull) {
		t.Errorf("the application says %v", err)
	}
	b.RequireNothingPut()
}

// A transport of the application's own.
func myTransport(c *http.Client, url string) sender.Transport {
	return sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/events", bytes.NewReader(it.Payload))
		if err != nil {
			return sender.Permanent(err)
		}
		req.Header.Set("Idempotency-Key", it.ID.String())
		req.Header.Set("Customer", it.Key)
		_, err = httpsend.Do(c, req)
		return err
	})
}

func TestRetryAfterOfTenHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{
			Limit: 100, Window: time.Second, RetryAfter: outboxtest.RFC850, IDHeader: "Idempotency-Key",
			Key: func(r *http.Request, _ []byte) string { return r.Header.Get("Customer") },
		})
		v.Script(outboxtest.Fault{Status: 429, RetryAfter: 10 * time.Hour})
		b := outboxtest.New(t, &outboxtest.Options{
			Transport: myTransport(v.Client(), v.URL),
			Outbox:    outbox.Options{Limiter: limiter.Within(100, time.Second)},
		})
		for i := range 500 {
			if _, err := b.Put(t.Context(), outbox.Event{Kind: "k", Key: strconv.Itoa(i % 7)}); err != nil {
				t.Fatal(err)
			}
		}
		if r := b.Drain(); r.Took < 10*time.Hour || len(r.Delivered) != 500 {
			t.Errorf("went on after %v, delivered %d", r.Took, len(r.Delivered))
		}
		v.RequireManners()
	})
}

func TestOutageBuriesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.Outage(0, 3*time.Hour) // comes before all scripts
		tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Refuse("400: no name"))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr})
		b.Put(t.Context(), outbox.Event{Kind: "odd"})
		b.Put(t.Context(), outbox.Event{Kind: "good"})
		time.Sleep(time.Hour)
		b.Crash() // in the middle of it
		b.Drain()
		b.RequireDelivered(outboxtest.Want{Kind: "good"})
		b.Revive(t.Context(), b.RequireDead(outboxtest.Want{Kind: "odd"}))
		b.Drain()
		b.RequireDelivered(outboxtest.Want{Kind: "odd"})
	})
}
