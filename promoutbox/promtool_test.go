package promoutbox_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// promtool runs promtool, of the Debian package prometheus. Without it the test is skipped, except with
// OUTBOX_PROMETHEUS=1, where it fails.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("OUTBOX_PROMETHEUS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRules(t *testing.T) {
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
}

// A recording is what a Prometheus would have scraped of an outbox, once an interval from time zero on.
type recording struct {
	every  time.Duration
	n      int // scrapes so far
	series map[string][]string
}

// scrape adds a scrape. start is when the recording began: promtool's time begins with zero.
func (r *recording) scrape(t *testing.T, reg *prometheus.Registry, start time.Time) {
	t.Helper()
	for name, v := range gather(t, reg) {
		if strings.Contains(name, "_timestamp_seconds") {
			v -= float64(start.Unix())
		}
		text := fmt.Sprint(v)
		if math.IsInf(v, 1) {
			text = "Inf"
		}
		for len(r.series[name]) < r.n {
			r.series[name] = append(r.series[name], "_")
		}
		r.series[name] = append(r.series[name], text)
	}
	r.n++
	for name, values := range r.series {
		if len(values) < r.n {
			r.series[name] = append(values, "_")
		}
	}
}

// fires says which alerts fire at which time after the start, and that no others do.
type fires map[time.Duration][]string

// check has promtool evaluate alerts.yml over the recording.
func (r *recording) check(t *testing.T, want fires) {
	t.Helper()
	rules, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	var input, tests []any
	for _, name := range slices.Sorted(maps.Keys(r.series)) {
		input = append(input, object{
			"series": strings.Replace(name, "{", `{job="app",instance="one",`, 1),
			"values": strings.Join(r.series[name], " "),
		})
	}
	for _, at := range slices.Sorted(maps.Keys(want)) {
		samples := []any{}
		for _, alert := range want[at] {
			samples = append(samples, object{"labels": fmt.Sprintf("{alertname=%q}", alert), "value": 1})
		}
		tests = append(tests, object{
			"expr":      `count by (alertname) (ALERTS{alertstate="firing"})`,
			"eval_time": at.String(), "exp_samples": samples,
		})
	}
	text, err := json.Marshal(object{ // which is YAML too
		"rule_files": []string{rules}, "evaluation_interval": r.every.String(),
		"tests": []any{object{"interval": r.every.String(), "input_series": input, "promql_expr_test": tests}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "test.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}

// A drama is a real outbox over hours, scraped all the while, and what has to fire.
type drama struct {
	options func() *outboxtest.Options // made in the bubble
	every   time.Duration              // between two scrapes; 0: a minute
	lasts   time.Duration
	act     func(t *testing.T, b *outboxtest.Outbox, at time.Duration) // before each scrape
	want    fires
}

// one puts an event a scrape. It does not care whether it succeeds.
func one(t *testing.T, b *outboxtest.Outbox, _ time.Duration) {
	b.Put(t.Context(), outbox.Event{Kind: "k"})
}

func TestDramas(t *testing.T) {
	hour := func(int) time.Duration { return time.Hour }
	for name, d := range map[string]drama{
		"quiet": {lasts: time.Hour, act: one, want: fires{10 * time.Minute: nil, time.Hour: nil}},
		"outage": {
			options: func() *outboxtest.Options {
				tr := outboxtest.NewTransport()
				tr.Outage(5*time.Minute, time.Hour)
				return &outboxtest.Options{Transport: tr}
			},
			lasts: 2 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				for range 5 { // more than the probes try: some never failed
					one(t, b, at)
				}
			},
			want: fires{
				4 * time.Minute: nil, 12 * time.Minute: nil,
				18 * time.Minute: {"OutboxHeld"},
				40 * time.Minute: {"OutboxHeld", "OutboxOldestTooOld"},
				75 * time.Minute: nil,
			},
		},
		"disk": {
			options: func() *outboxtest.Options {
				return &outboxtest.Options{Transport: outboxtest.NewTransport(outboxtest.Times(100, outboxtest.Slow(time.Millisecond, outboxtest.Accept())))}
			},
			lasts: 20 * time.Minute,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at == 10*time.Minute {
					b.FailCommits(0, false)
				}
				one(t, b, at)
				if at == 5*time.Minute { // the event is stored, and that it was sent is not
					b.FailCommits(1_000_000, false)
				}
			},
			want: fires{4 * time.Minute: nil, 8 * time.Minute: {"OutboxStorageFailed"}, 15 * time.Minute: nil},
		},
		"failing": { // too few events for a hold
			options: func() *outboxtest.Options {
				tr := outboxtest.NewTransport()
				tr.For(outboxtest.Want{Kind: "bad"}, outboxtest.Always(outboxtest.Fail("500")))
				return &outboxtest.Options{Transport: tr}
			},
			lasts: time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				switch {
				case at < 10*time.Minute:
					one(t, b, at)
				case at < 12*time.Minute:
					b.Put(t.Context(), outbox.Event{Kind: "bad"})
				}
			},
			want: fires{20 * time.Minute: nil, 45 * time.Minute: {"OutboxNothingDelivered"}},
		},
		"dead": {
			options: func() *outboxtest.Options {
				tr := outboxtest.NewTransport()
				tr.For(outboxtest.Want{Kind: "bad"}, outboxtest.Refuse("400"))
				return &outboxtest.Options{Transport: tr}
			},
			every: 5 * time.Minute, lasts: 30 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at == time.Hour {
					b.Put(t.Context(), outbox.Event{Kind: "bad"})
				}
				one(t, b, at)
			},
			want: fires{
				50 * time.Minute: nil, 70 * time.Minute: {"OutboxDying"}, 2 * time.Hour: nil, 24 * time.Hour: nil,
				26 * time.Hour: {"OutboxDeadForgotten"},
			},
		},
		"paused": {
			every: 5 * time.Minute, lasts: 28 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at == time.Hour {
					if err := b.Pause(t.Context(), sender.Pause{By: "ann"}); err != nil {
						t.Error(err)
					}
				}
				one(t, b, at)
			},
			want: fires{2 * time.Hour: nil, 24 * time.Hour: nil, 26 * time.Hour: {"OutboxPausedForgotten"}},
		},
		"throttled": {
			options: func() *outboxtest.Options {
				var script []outboxtest.Answer
				for range 20 {
					script = append(script, outboxtest.Throttle(20*time.Minute), outboxtest.Accept())
				}
				return &outboxtest.Options{Transport: outboxtest.NewTransport(script...)}
			},
			lasts: 2 * time.Hour, act: one,
			want: fires{15 * time.Minute: nil, time.Hour: {"OutboxThrottledOften"}},
		},
		"abandoned": {
			options: func() *outboxtest.Options {
				over := time.Now().Add(time.Hour)
				return &outboxtest.Options{Transport: sender.TransportFunc(func(_ context.Context, it sender.Item) error {
					if it.Kind == "stuck" {
						time.Sleep(time.Until(over))
					}
					return nil
				})}
			},
			lasts: 2 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at == 5*time.Minute {
					b.Put(t.Context(), outbox.Event{Kind: "stuck"})
				}
				one(t, b, at)
			},
			want: fires{
				10 * time.Minute: nil, 18 * time.Minute: {"OutboxAbandonedRequests"},
				40 * time.Minute: {"OutboxAbandonedRequests", "OutboxOldestTooOld"}, 90 * time.Minute: nil,
			},
		},
		"behind": {
			options: func() *outboxtest.Options {
				return &outboxtest.Options{Outbox: outbox.Options{Limiter: limiter.Within(1, time.Second)}}
			},
			lasts: 2 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at < 100*time.Minute {
					b.PutAll(t.Context(), slices.Repeat([]outbox.Event{{Kind: "k"}}, 120)...)
				}
			},
			want: fires{15 * time.Minute: nil, 65 * time.Minute: {"OutboxFallingBehind", "OutboxOldestTooOld"}},
		},
		// Neither scheduled events nor one that fails for hours make the lane late.
		"scheduled": {
			options: func() *outboxtest.Options {
				tr := outboxtest.NewTransport()
				tr.For(outboxtest.Want{Kind: "poor"}, outboxtest.Times(100, outboxtest.Fail("500")))
				return &outboxtest.Options{Transport: tr, Outbox: outbox.Options{Sender: sender.Options{Backoff: hour}}}
			},
			lasts: 2 * time.Hour,
			act: func(t *testing.T, b *outboxtest.Outbox, at time.Duration) {
				if at == 0 {
					b.Put(t.Context(), outbox.Event{Kind: "poor", Key: "ann"})
					b.Put(t.Context(), outbox.Event{Kind: "poor", Key: "ann"})
				}
				for range 20 {
					b.Put(t.Context(), outbox.Event{Kind: "k", NotBefore: time.Now().Add(24 * time.Hour)})
				}
			},
			want: fires{59 * time.Minute: nil, 2 * time.Hour: {"OutboxNothingDelivered"}}, // none is late; one fails each hour
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recording{every: d.every, series: make(map[string][]string)}
			if r.every == 0 {
				r.every = time.Minute
			}
			synctest.Test(t, func(t *testing.T) {
				var o *outboxtest.Options
				if d.options != nil {
					o = d.options()
				}
				b := outboxtest.New(t, o)
				reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
				start := time.Now()
				for at := time.Duration(0); at <= d.lasts; at += r.every {
					d.act(t, b, at)
					time.Sleep(time.Second)
					synctest.Wait()
					r.scrape(t, reg, start)
					time.Sleep(r.every - time.Second)
				}
				b.FailCommits(0, false)
				if err := b.Resume(t.Context()); err != nil {
					t.Error(err)
				}
			})
			r.check(t, d.want)
		})
	}
}
