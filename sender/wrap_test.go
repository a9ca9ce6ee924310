package sender_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

// The parts of transports.
type (
	single  struct{}
	batcher struct{ single }
	prober  struct{ asked *int }
	closer  struct{ closed *int }
)

func (single) Send(_ context.Context, it sender.Item) error {
	return sender.Permanent(errors.New(it.Kind))
}
func (batcher) BatchLimit() (int, int) { return 7, 70 }
func (b batcher) SendBatch(ctx context.Context, items []sender.Item) []error {
	errs := make([]error, len(items))
	for i, it := range items {
		errs[i] = b.Send(ctx, it)
	}
	return errs
}
func (p prober) Probe(context.Context) error { *p.asked++; return nil }
func (c closer) CloseIdleConnections()       { *c.closed++ }

// What is wrapped has the abilities of the transport, and no others.
func TestWrapKeepsAbilities(t *testing.T) {
	var asked, closed int
	p, c := prober{&asked}, closer{&closed}
	for name, inner := range map[string]sender.Transport{
		"": single{},
		"prober": struct {
			single
			prober
		}{prober: p},
		"closer": struct {
			single
			closer
		}{closer: c},
		"prober closer": struct {
			single
			prober
			closer
		}{prober: p, closer: c},
		"batch": batcher{},
		"batch prober": struct {
			batcher
			prober
		}{prober: p},
		"batch closer": struct {
			batcher
			closer
		}{closer: c},
		"batch prober closer": struct {
			batcher
			prober
			closer
		}{prober: p, closer: c},
	} {
		t.Run(name, func(t *testing.T) {
			asked, closed = 0, 0
			calls := 0
			w := sender.Wrap(inner, func(ctx context.Context, items []sender.Item, send func(context.Context, []sender.Item) []error) []error {
				calls++
				return send(ctx, items)
			})
			err := w.Send(t.Context(), sender.Item{Kind: "a"})
			if mark, _ := sender.Classify(err); mark != sender.MarkPermanent || err.Error() != "a" || calls != 1 {
				t.Errorf("Send: %v after %d calls", err, calls)
			}
			b, ok := w.(sender.BatchTransport)
			if ok != strings.Contains(name, "batch") {
				t.Errorf("it is a BatchTransport: %v", ok)
			} else if ok {
				if items, bytes := b.BatchLimit(); items != 7 || bytes != 70 {
					t.Errorf("the limits are %d and %d", items, bytes)
				}
				if errs := b.SendBatch(t.Context(), []sender.Item{{Kind: "a"}, {Kind: "b"}}); len(errs) != 2 || errs[1].Error() != "b" || calls != 2 {
					t.Errorf("SendBatch: %v after %d calls", errs, calls)
				}
			}
			p, ok := w.(sender.Prober)
			if ok != strings.Contains(name, "prober") {
				t.Errorf("it is a Prober: %v", ok)
			} else if ok && (p.Probe(t.Context()) != nil || asked != 1) {
				t.Errorf("the prober was asked %d times", asked)
			}
			c, ok := w.(sender.IdleCloser)
			if ok != strings.Contains(name, "closer") {
				t.Errorf("it is an IdleCloser: %v", ok)
			} else if ok {
				if c.CloseIdleConnections(); closed != 1 {
					t.Errorf("connections were closed %d times", closed)
				}
			}
		})
	}
}

// A wrong number of verdicts, and a missing transport, are found out.
func TestWrapMistakes(t *testing.T) {
	none := func(context.Context, []sender.Item, func(context.Context, []sender.Item) []error) []error { return nil }
	if err := sender.Wrap(single{}, none).Send(t.Context(), sender.Item{}); err == nil || !strings.Contains(err.Error(), "0 verdicts for 1 item") {
		t.Errorf("no verdict: %v", err)
	}
	for _, missing := range []sender.Transport{nil, sender.TransportFunc(nil)} {
		if _, err := sender.New(new(sendertest.Memory), sender.Wrap(missing, none), nil, nil); err == nil || err.Error() != "sender: the transport is nil" {
			t.Errorf("New of a missing transport: %v", err)
		}
	}
	if got := sender.Wrap(single{}, nil); got != (single{}) {
		t.Errorf("with nothing around it: %T", got)
	}
}

// Log how each request ended. The transport keeps its batches.
func ExampleWrap() {
	post := sender.TransportFunc(func(context.Context, sender.Item) error {
		return sender.Throttled(errors.New("429 Too Many Requests"), 30*time.Second)
	})
	t := sender.Wrap(post, func(ctx context.Context, items []sender.Item, send func(context.Context, []sender.Item) []error) []error {
		errs := send(ctx, items)
		for i, err := range errs {
			mark, wait := sender.Classify(err)
			fmt.Printf("%s: %s, wait %v: %v\n", items[i].Kind, mark, wait, err)
		}
		return errs
	})
	_ = t.Send(context.Background(), sender.Item{Kind: "mail"})
	// Output: mail: throttled, wait 30s: 429 Too Many Requests
}
