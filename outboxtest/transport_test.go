package outboxtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

var _ sender.BatchTransport = (*outboxtest.Transport)(nil)

// said names what a transport told the sender.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// sends sends items of these kinds, one by one.
func sends(t *testing.T, tr *outboxtest.Transport, kinds string) (got string) {
	t.Helper()
	for kind := range strings.FieldsSeq(kinds) {
		got += ", " + said(tr.Send(t.Context(), sender.Item{Kind: kind}))
	}
	return strings.TrimPrefix(got, ", ")
}

func TestTransportFollowsItsScripts(t *testing.T) {
	tr := outboxtest.NewTransport(outboxtest.Fail("1"), outboxtest.Times(2, outboxtest.Fail("2")), outboxtest.Times(0, outboxtest.Fail("never")))
	tr.Next(outboxtest.Accept(), outboxtest.Refuse("3"))
	tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Fail("odd"), outboxtest.Later(time.Second))
	tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Fail("odder"))
	want := "1, odd, 2, later, in 1s, odder, 2, ok, 3, ok"
	if got := sends(t, tr, "a odd a odd odd odd a a a"); got != want {
		t.Errorf("it said %s, want %s", got, want)
	}
	requests := tr.Requests()
	if len(requests) != 9 || requests[1].Items[0].Kind != "odd" || said(requests[1].Errs[0]) != "odd" {
		t.Errorf("requests %+v", requests)
	}
}

func TestAlways(t *testing.T) {
	tr := outboxtest.NewTransport(outboxtest.Fail("1"), outboxtest.Always(outboxtest.Fail("2")), outboxtest.Fail("3"))
	if got := sends(t, tr, "a a a a a"); got != "1, 2, 2, 2, 2" {
		t.Errorf("it said %s", got)
	}
}

func TestTransportOfBatches(t *testing.T) {
	tr := outboxtest.NewTransport(outboxtest.Each(outboxtest.Accept(), outboxtest.Fail("second")), outboxtest.Throttle(time.Minute))
	if items, bytes := tr.BatchLimit(); items != 1 || bytes > 0 {
		t.Errorf("before Batch: %d items, %d bytes", items, bytes)
	}
	tr.Batch(10, 1000)
	if items, bytes := tr.BatchLimit(); items != 10 || bytes != 1000 {
		t.Errorf("a batch has %d items, %d bytes", items, bytes)
	}
	tr.For(outboxtest.Want{Kind: "odd"}, outboxtest.Refuse("odd"))
	batch := []sender.Item{{Kind: "a"}, {Kind: "odd"}, {Kind: "b"}, {Kind: "c"}}
	for _, want := range []string{"ok, odd, second, ok", "429: retry after 1m0s, 429: retry after 1m0s, 429: retry after 1m0s, 429: retry after 1m0s", "ok, ok, ok, ok"} {
		var got []string
		for _, err := range tr.SendBatch(t.Context(), batch) {
			got = append(got, said(err))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("it said %q, want %s", got, want)
		}
	}
	if r := tr.Requests(); len(r) != 3 || len(r[0].Items) != 4 || len(r[0].Errs) != 4 {
		t.Errorf("requests %+v", r)
	}
}

func TestTransportTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport(outboxtest.Slow(time.Hour, outboxtest.Fail("late")), outboxtest.Hang(), outboxtest.Slow(time.Hour, outboxtest.Accept()),
			outboxtest.Fail("after the outage"))
		tr.Outage(24*time.Hour, time.Hour)
		began := time.Now()
		if got := sends(t, tr, "a"); got != "late" || time.Since(began) != time.Hour {
			t.Errorf("%s after %v", got, time.Since(began))
		}
		for range 2 {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := tr.Send(ctx, sender.Item{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			cancel()
		}
		time.Sleep(time.Until(began.Add(24 * time.Hour)))
		if got := sends(t, tr, "a a"); !strings.Contains(got, "connection refused: an outage, connection refused: an outage") {
			t.Errorf("in the outage: %s", got)
		}
		time.Sleep(time.Hour)
		if got := sends(t, tr, "a a"); got != "after the outage, ok" {
			t.Errorf("after it: %s", got)
		}
	})
}

// A lost answer has no mark: the sender must not know what became of the item.
func TestTransportLosesAnswers(t *testing.T) {
	tr := outboxtest.NewTransport(outboxtest.Lose(outboxtest.Accept()), outboxtest.Lose(outboxtest.Refuse("400")), outboxtest.Panic())
	if got, want := sends(t, tr, "a a"), "the answer was lost: accepted, the answer was lost: 400"; got != want {
		t.Errorf("it said %s", got)
	}
	if err := tr.Requests()[1].Errs[0]; errors.Unwrap(err) != nil {
		t.Errorf("the error wraps %v", errors.Unwrap(err))
	}
	defer func() {
		if recover() == nil {
			t.Error("it did not panic")
		}
		if r := tr.Requests(); len(r) != 3 || r[2].Errs != nil {
			t.Errorf("requests %+v", r)
		}
	}()
	tr.Send(t.Context(), sender.Item{})
}

func TestWant(t *testing.T) {
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	type plan struct {
		Name  string    `json:"name"`
		Price []float64 `json:"price"`
	}
	it := sender.Item{Kind: "k", Key: "ann", Header: map[string]string{"a": "1", "b": "2"}, Due: at, Payload: []byte(`{"price": [1.0, 20], "name": "basic"}`)}
	for name, c := range map[string]struct {
		want outboxtest.Want
		fits bool
	}{
		"anything":       {outboxtest.Want{}, true},
		"kind and key":   {outboxtest.Want{Kind: "k", Key: "ann"}, true},
		"other kind":     {outboxtest.Want{Kind: "l"}, false},
		"other key":      {outboxtest.Want{Key: "ben"}, false},
		"header":         {outboxtest.Want{Header: map[string]string{"a": "1"}}, true},
		"other header":   {outboxtest.Want{Header: map[string]string{"a": "2"}}, false},
		"no such header": {outboxtest.Want{Header: map[string]string{"c": ""}}, false},
		"time":           {outboxtest.Want{NotBefore: at.Local()}, true},
		"other time":     {outboxtest.Want{NotBefore: at.Add(1)}, false},
		"where":          {outboxtest.Want{Where: func(it sender.Item) bool { return it.Key == "ann" }}, true},
		"not where":      {outboxtest.Want{Where: func(sender.Item) bool { return false }}, false},
		"struct":         {outboxtest.Want{Payload: plan{"basic", []float64{1, 20}}}, true},
		"other value":    {outboxtest.Want{Payload: plan{"basic", []float64{1, 21}}}, false},
		"longer":         {outboxtest.Want{Payload: plan{"basic", []float64{1, 20, 3}}}, false},
		"map":            {outboxtest.Want{Payload: map[string]any{"name": "basic", "price": []int{1, 20}}}, true},
		"missing field":  {outboxtest.Want{Payload: map[string]any{"name": "basic"}}, false},
		"raw JSON":       {outboxtest.Want{Payload: json.RawMessage(`{"name":"basic","price":[1,20.0]}`)}, true},
		"text":           {outboxtest.Want{Payload: `{"price": [1.0, 20], "name": "basic"}`}, true},
		"other text":     {outboxtest.Want{Payload: `{"name": "basic", "price": [1.0, 20]}`}, false},
		"bytes":          {outboxtest.Want{Payload: it.Payload}, true},
		"empty":          {outboxtest.Want{Payload: ""}, false},
		"null":           {outboxtest.Want{Payload: json.RawMessage("null")}, false},
	} {
		tr := outboxtest.NewTransport()
		tr.For(c.want, outboxtest.Fail("fits"))
		if err := tr.Send(t.Context(), it); (err != nil) != c.fits {
			t.Errorf("%s: fits %t", name, err != nil)
		}
	}
}
