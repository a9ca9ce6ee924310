package oteloutbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/oteloutbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

const mail = "{messaging.destination.name=mail}"

func pending(state string) string {
	return "outbox.events.pending{messaging.destination.name=mail state=" + state + "}"
}

func outcomes(verdict string) string {
	return "outbox.outcomes{messaging.destination.name=mail verdict=" + verdict + "}"
}

func laneState(state string) string {
	return "outbox.lane.state{messaging.destination.name=mail state=" + state + "}"
}

func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracing(t, trace.NeverSample())
		sent := outboxtest.NewTransport()
		sent.For(outboxtest.Want{Kind: "bad"}, outboxtest.Refuse("400"))
		sent.For(outboxtest.Want{Kind: "poor"}, outboxtest.Times(9, outboxtest.Fail("500")))
		sent.For(outboxtest.Want{Kind: "slow"}, outboxtest.Slow(20*time.Second, outboxtest.Accept()))
		b := outboxtest.New(t, &outboxtest.Options{Transport: sent, Outbox: outbox.Options{
			Limiter: limiter.Within(100, time.Second),
			Sender:  sender.Options{Backoff: func(int) time.Duration { return time.Hour }},
		}})
		stop, err := oteloutbox.Measure(map[string]*outbox.Outbox{"mail": b.Outbox, "none": nil}, &tr.options)
		if err != nil {
			t.Fatal(err)
		}
		tr.want(map[string]float64{
			pending("ready"): 0, pending("in_flight"): 0, pending("in_line"): 0, pending("retrying"): 0, pending("scheduled"): 0,
			"outbox.events.dead" + mail: 0, "outbox.events.put" + mail: 0, "outbox.events.delivered" + mail: 0,
			"outbox.events.expired" + mail: 0, "outbox.events.dropped" + mail: 0,
			"outbox.oldest.age" + mail: -1, "outbox.rate.allowed" + mail: 90,
			outcomes("delivered"): 0, outcomes("retry"): 0, outcomes("dead"): 0, outcomes("expired"): 0, outcomes("released"): 0,
			laneState("idle"): 1, laneState("sending"): 0, laneState("held"): 0, laneState("paused"): 0, laneState("throttled"): 0,
			laneState("waiting"): 0, laneState("storing"): 0, laneState("closed"): 0,
			"unit of outbox.events.pending: {event}": 1, "unit of outbox.events.dead: {event}": 1, "unit of outbox.events.put: {event}": 1,
			"unit of outbox.rate.allowed: {request}/s": 1, "unit of outbox.lane.state: 1": 1, "unit of outbox.outcomes: {event}": 1,
		})
		for _, e := range []outbox.Event{
			{Kind: "bad"}, {Kind: "poor", Key: "ann"}, {Kind: "poor", Key: "ann"},
			{Kind: "k", NotBefore: time.Now().Add(time.Hour)}, {Kind: "slow"},
		} {
			if _, err := b.Put(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		b.Put(t.Context(), outbox.Event{Kind: "good"})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		tr.want(map[string]float64{
			pending("ready"): 0, pending("in_flight"): 1, pending("in_line"): 1, pending("retrying"): 1, pending("scheduled"): 1,
			"outbox.events.dead" + mail: 1, "outbox.events.put" + mail: 6, "outbox.events.delivered" + mail: 1,
			"outbox.oldest.age" + mail: 10, "outbox.delivery.delay" + mail: 1,
			outcomes("delivered"): 1, outcomes("retry"): 1, outcomes("dead"): 1, laneState("sending"): 1, laneState("idle"): 0,
			"unit of outbox.oldest.age: s": 1, "unit of outbox.delivery.delay: s": 1,
		})
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Errorf("stopped again: %v", err)
		}
		before := tr.read()[outcomes("delivered")]
		b.Put(t.Context(), outbox.Event{Kind: "good"})
		time.Sleep(time.Minute)
		synctest.Wait()
		tr.want(map[string]float64{"outbox.events.put" + mail: -1, laneState("idle"): -1, pending("ready"): -1, outcomes("delivered"): before})
	})
}
