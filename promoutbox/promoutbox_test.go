package promoutbox_test

import (
	"context"
	"flag"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/promoutbox"
	"github.com/seed8107221f/outbox/sender"
)

var update = flag.Bool("update", false, "write testdata/lane.txt")

// collect returns a pedantic registry with a collector for lanes, which is closed when t ends.
func collect(t *testing.T, lanes map[string]*outbox.Outbox, o *promoutbox.Options) (*prometheus.Registry, *promoutbox.Collector) {
	t.Helper()
	c := promoutbox.NewCollector(lanes, o)
	t.Cleanup(c.Close)
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	return reg, c
}

// gather returns all series with their values, as `name{label="value"}`. A histogram is its count under
// name_count and its sum under name_sum.
func gather(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			of := "{" + strings.Join(labels, ",") + "}"
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				values[f.GetName()+"_count"+of] = float64(m.GetHistogram().GetSampleCount())
				values[f.GetName()+"_sum"+of] = m.GetHistogram().GetSampleSum()
			case dto.MetricType_COUNTER:
				values[f.GetName()+of] = m.GetCounter().GetValue()
			default:
				values[f.GetName()+of] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}

// want compares some series; NaN means that there must be none.
func want(t *testing.T, reg prometheus.Gatherer, series map[string]float64) {
	t.Helper()
	got := gather(t, reg)
	for _, name := range slices.Sorted(maps.Keys(series)) {
		v, ok := got[name]
		switch w := series[name]; {
		case math.IsNaN(w) && ok:
			t.Errorf("%s is %v, and must not exist", name, v)
		case !math.IsNaN(w) && !ok:
			t.Errorf("%s does not exist, want %v", name, w)
		case !math.IsNaN(w) && v != w:
			t.Errorf("%s is %v, want %v", name, v, w)
		}
	}
}

func put(t *testing.T, b *outboxtest.Outbox, es ...outbox.Event) {
	t.Helper()
	for _, e := range es {
		if _, err := b.Put(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// A lane with an event in each state, in the text that Prometheus reads.
func TestGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.For(outboxtest.Want{Kind: "bad"}, outboxtest.Refuse("400"))
		tr.For(outboxtest.Want{Kind: "poor"}, outboxtest.Times(9, outboxtest.Fail("500")))
		tr.For(outboxtest.Want{Kind: "slow"}, outboxtest.Slow(20*time.Second, outboxtest.Accept()))
		tr.For(outboxtest.Want{Kind: "good"}, outboxtest.Slow(200*time.Millisecond, outboxtest.Accept()))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr, Outbox: outbox.Options{
			Limiter: limiter.Within(100, time.Second),
			Sender:  sender.Options{Backoff: func(int) time.Duration { return time.Hour }},
		}})
		reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, &promoutbox.Options{Kinds: []string{"good", "bad"}})
		if err := b.Pause(t.Context(), sender.Pause{}); err != nil {
			t.Fatal(err)
		}
		put(t, b,
			outbox.Event{Kind: "good", Payload: make([]byte, 100)},
			outbox.Event{Kind: "bad", Payload: make([]byte, 30)},
			outbox.Event{Kind: "poor", Key: "ann", Payload: make([]byte, 5)},
			outbox.Event{Kind: "poor", Key: "ann"},
			outbox.Event{Kind: "poor", NotBefore: time.Now().Add(time.Hour)},
			outbox.Event{Kind: "slow"},
			outbox.Event{Kind: "lapsed", Expires: time.Now().Add(time.Second)},
		)
		time.Sleep(2 * time.Second)
		if err := b.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		put(t, b, outbox.Event{Kind: "good"})
		time.Sleep(5 * time.Second)
		synctest.Wait()

		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, f := range families {
			if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
				t.Fatal(err)
			}
		}
		// The size depends on the size of a page.
		got := regexp.MustCompile(`(?m)^(outbox_file_bytes\S+) [0-9.e+]+$`).ReplaceAllString(text.String(), "$1 SIZE")
		if *update {
			if err := os.WriteFile("testdata/lane.txt", []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile("testdata/lane.txt")
		if err != nil {
			t.Fatal(err)
		}
		if got != string(golden) {
			t.Errorf("differs from testdata/lane.txt, which -update writes:\n%s", got)
		}
	})
}

// Names, units and help are as Prometheus wants them.
func TestLint(t *testing.T) {
	for name, o := range map[string]*promoutbox.Options{"plain": nil, "kinds": {Kinds: []string{"k"}, ConstLabels: prometheus.Labels{"file": "a"}}} {
		t.Run(name, func(t *testing.T) {
			b := outboxtest.New(t, &outboxtest.Options{Outbox: outbox.Options{Limiter: limiter.Within(100, time.Second)}})
			reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, o)
			problems, err := testutil.GatherAndLint(reg)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range problems {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
			if len(gather(t, reg)) == 0 {
				t.Error("nothing was linted")
			}
		})
	}
}

// All series exist before anything has happened. Times that do not exist have none.
func TestZero(t *testing.T) {
	b := outboxtest.New(t, nil)
	reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, &promoutbox.Options{Kinds: []string{"signup"}})
	series := map[string]float64{
		`outbox_oldest_ready_timestamp_seconds{lane="mail"}`:    math.NaN(),
		`outbox_throttled_until_timestamp_seconds{lane="mail"}`: math.NaN(),
		`outbox_paused_until_timestamp_seconds{lane="mail"}`:    math.NaN(),
		`outbox_allowed_requests_per_second{lane="mail"}`:       math.NaN(),
		`outbox_limit_requests_per_second{lane="mail"}`:         math.NaN(),
		`outbox_concurrency{lane="mail"}`:                       10,
		`outbox_lane_state{lane="mail",state="idle"}`:           1,
	}
	for _, name := range []string{
		"dead_events", "pending_bytes", "dead_bytes", "abandoned_requests",
		"put_events_total", "delivered_events_total", "expired_events_total", "dropped_events_total", "requests_total",
		"request_duration_seconds_count", "request_duration_seconds_sum", "delivery_delay_seconds_count", "delivery_delay_seconds_sum",
	} {
		series["outbox_"+name+`{lane="mail"}`] = 0
	}
	for _, state := range []string{"ready", "in_flight", "in_line", "retrying", "scheduled"} {
		series[`outbox_pending_events{lane="mail",state="`+state+`"}`] = 0
	}
	for _, state := range []string{"sending", "waiting", "throttled", "paused", "held", "storing", "closed"} {
		series[`outbox_lane_state{lane="mail",state="`+state+`"}`] = 0
	}
	for _, cause := range []string{"destination", "storage", "limiter", "transport"} {
		series[`outbox_held{cause="`+cause+`",lane="mail"}`] = 0
	}
	for _, verdict := range []string{"delivered", "retry", "dead", "expired", "released"} {
		for _, kind := range []string{"signup", "other"} {
			series[`outbox_outcomes_total{kind="`+kind+`",lane="mail",verdict="`+verdict+`"}`] = 0
		}
	}
	want(t, reg, series)
	got := gather(t, reg)
	if size := got[`outbox_file_bytes{lane=""}`]; size <= 0 {
		t.Errorf("the file has %v bytes", size)
	}
	for name := range got {
		if _, ok := series[name]; !ok && !strings.HasPrefix(name, "outbox_file_bytes") {
			t.Errorf("%s exists, and no test expects it", name)
		}
	}
}

// After Close the collector exports nothing, and the lane tells it nothing.
func TestClose(t *testing.T) {
	b := outboxtest.New(t, nil)
	reg, c := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
	put(t, b, outbox.Event{Kind: "k"})
	b.Drain()
	if n := len(gather(t, reg)); n == 0 {
		t.Fatal("no series before Close")
	}
	c.Close()
	c.Close()
	if got := gather(t, reg); len(got) != 0 {
		t.Errorf("after Close there are %v", got)
	}
	reg.Unregister(c)
	if err := reg.Register(promoutbox.NewCollector(map[string]*outbox.Outbox{"mail": b.Outbox}, nil)); err != nil {
		t.Errorf("another collector in its place: %v", err)
	}
	if n := gather(t, reg)[`outbox_outcomes_total{lane="mail",verdict="delivered"}`]; n != 0 {
		t.Errorf("another collector begins with %v outcomes", n)
	}
}

// A batch is one request: one duration, and one delay for each of its events.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport(outboxtest.Slow(2*time.Second, outboxtest.Accept()))
		tr.Batch(100, 1<<20)
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr, Outbox: outbox.Options{Sender: sender.Options{Concurrency: 1}}})
		reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
		if _, err := b.PutAll(t.Context(), slices.Repeat([]outbox.Event{{Kind: "k"}}, 100)...); err != nil {
			t.Fatal(err)
		}
		b.Drain()
		requests := float64(len(tr.Requests()))
		want(t, reg, map[string]float64{
			`outbox_requests_total{lane="mail"}`:                           requests,
			`outbox_request_duration_seconds_count{lane="mail"}`:           requests,
			`outbox_request_duration_seconds_sum{lane="mail"}`:             2,
			`outbox_delivery_delay_seconds_count{lane="mail"}`:             100,
			`outbox_outcomes_total{lane="mail",verdict="delivered"}`:       100,
			`outbox_oldest_ready_timestamp_seconds{lane="mail"}`:           math.NaN(),
			`outbox_lane_state{lane="mail",state="idle"}`:                  1,
			`outbox_pending_events{lane="mail",state="ready"}`:             0,
			`outbox_delivered_events_total{lane="mail"}`:                   100,
			`outbox_pending_bytes{lane="mail"}`:                            0,
			`outbox_outcomes_total{lane="mail",verdict="nonsense"}`:        math.NaN(),
			`outbox_throttled_until_timestamp_seconds{lane="mail"}`:        math.NaN(),
			`outbox_pending_events{lane="mail",state="in_flight"}`:         0,
			`outbox_request_duration_seconds_count{lane="no such lane"}`:   math.NaN(),
			`outbox_outcomes_total{kind="",lane="mail",verdict="expired"}`: math.NaN(),
		})
	})
}

// What is scheduled, what failed and what waits behind it is not late, however old it is.
func TestOldestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.For(outboxtest.Want{Kind: "poor"}, outboxtest.Times(1000, outboxtest.Fail("500")))
		tr.For(outboxtest.Want{Kind: "slow"}, outboxtest.Slow(20*time.Second, outboxtest.Accept()))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr, Outbox: outbox.Options{
			Sender: sender.Options{Backoff: func(int) time.Duration { return time.Hour }},
		}})
		reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
		put(t, b, outbox.Event{Kind: "poor", Key: "ann"}, outbox.Event{Kind: "poor", NotBefore: time.Now().Add(24 * time.Hour)})
		time.Sleep(time.Minute)
		synctest.Wait()
		const oldest = `outbox_oldest_ready_timestamp_seconds{lane="mail"}`
		const retrying, inLine = `outbox_pending_events{lane="mail",state="retrying"}`, `outbox_pending_events{lane="mail",state="in_line"}`
		want(t, reg, map[string]float64{oldest: math.NaN(), retrying: 1})
		start := time.Now()
		put(t, b, outbox.Event{Kind: "slow"})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want(t, reg, map[string]float64{oldest: float64(start.UnixNano()) / 1e9, retrying: 1})
		time.Sleep(time.Minute)
		put(t, b, outbox.Event{Kind: "poor", Key: "ann"})
		b.Settle()
		want(t, reg, map[string]float64{oldest: math.NaN(), retrying: 1, inLine: 1})
	})
}

// An operator's pause, one without an end, a throttle and a closed lane.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport(outboxtest.Throttle(time.Hour))
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr})
		reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
		const throttled, paused = `outbox_throttled_until_timestamp_seconds{lane="mail"}`, `outbox_paused_until_timestamp_seconds{lane="mail"}`
		state := func(name string) string { return `outbox_lane_state{lane="mail",state="` + name + `"}` }
		start := time.Now()
		put(t, b, outbox.Event{Kind: "k"})
		b.Settle()
		want(t, reg, map[string]float64{
			throttled: float64(start.Add(time.Hour).Unix()), paused: math.NaN(), state("throttled"): 1, state("paused"): 0,
			`outbox_outcomes_total{lane="mail",verdict="released"}`: 1,
			`outbox_oldest_ready_timestamp_seconds{lane="mail"}`:    float64(start.Unix()),
		})
		for until, end := range map[time.Time]float64{{}: math.Inf(1), start.Add(2 * time.Hour): float64(start.Add(2 * time.Hour).Unix())} {
			if err := b.Pause(t.Context(), sender.Pause{Until: until}); err != nil {
				t.Fatal(err)
			}
			want(t, reg, map[string]float64{paused: end, state("paused"): 1, state("throttled"): 0})
		}
		b.Restart() // closes the old one
		want(t, reg, map[string]float64{state("closed"): 1, state("paused"): 0, `outbox_put_events_total{lane="mail"}`: 1})
	})
}

// Each cause of a hold is told, and no other with it.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := outboxtest.NewTransport()
		tr.Outage(0, time.Hour)
		b := outboxtest.New(t, &outboxtest.Options{Transport: tr})
		reg, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
		put(t, b, outbox.Event{Kind: "k"})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		held := func(cause string) string { return `outbox_held{cause="` + cause + `",lane="mail"}` }
		want(t, reg, map[string]float64{
			held("destination"): 1, held("storage"): 0, held("limiter"): 0, held("transport"): 0,
			`outbox_lane_state{lane="mail",state="held"}`: 1,
		})
		b.Drain()
		want(t, reg, map[string]float64{held("destination"): 0, `outbox_lane_state{lane="mail",state="idle"}`: 1})
	})
}

// Two lanes of one file: its size is exported once.
func TestFileOnce(t *testing.T) {
	first := outboxtest.New(t, nil)
	other, err := first.Lane("other", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	second := outboxtest.New(t, nil)
	one, _ := collect(t, map[string]*outbox.Outbox{"a": first.Outbox}, nil)
	lanes, _ := collect(t, map[string]*outbox.Outbox{"a": first.Outbox, "b": other, "none": nil}, nil)
	both, _ := collect(t, map[string]*outbox.Outbox{"a": first.Outbox, "b": other, "c": second.Outbox}, nil)
	const file = `outbox_file_bytes{lane=""}`
	size := gather(t, one)[file]
	if got := gather(t, lanes)[file]; got != size || size == 0 {
		t.Errorf("two lanes of a file of %v bytes: %v", size, got)
	}
	if got := gather(t, both)[file]; got <= size {
		t.Errorf("two files, one of them of %v bytes: %v", size, got)
	}
	want(t, lanes, map[string]float64{`outbox_lane_state{lane="b",state="storing"}`: 1, `outbox_concurrency{lane="b"}`: 0})
}

// away is a limiter that tells how it works.
type away struct{ *limiter.Limiter }

func (away) Mode() string { return "away" }

func TestLimiterMode(t *testing.T) {
	b := outboxtest.New(t, &outboxtest.Options{Outbox: outbox.Options{Limiter: away{limiter.Within(100, time.Second)}}})
	lanes, _ := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, nil)
	want(t, lanes, map[string]float64{`outbox_limiter_mode{lane="mail",mode="away"}`: 1})
}

// A name that is not UTF-8 does not break the scrape, and two collectors can share a registry.
func TestLabels(t *testing.T) {
	b := outboxtest.New(t, nil)
	lanes := map[string]*outbox.Outbox{"m\xffil": b.Outbox}
	reg := prometheus.NewPedanticRegistry()
	for _, file := range []string{"one", "two"} {
		c := promoutbox.NewCollector(lanes, &promoutbox.Options{ConstLabels: prometheus.Labels{"file": file}, Kinds: []string{"k\xff"}})
		defer c.Close()
		if err := reg.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	want(t, reg, map[string]float64{
		"outbox_dead_events{file=\"one\",lane=\"m\\xffil\"}": 0,
		"outbox_dead_events{file=\"two\",lane=\"m\\xffil\"}": 0,
	})
}

// Scrapes, puts and the end of the collector at once: for the race detector.
func TestTogether(t *testing.T) {
	b := outboxtest.New(t, nil)
	reg, c := collect(t, map[string]*outbox.Outbox{"mail": b.Outbox}, &promoutbox.Options{Kinds: []string{"k"}})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			reg.Gather()
		}
	}()
	for range 200 {
		put(t, b, outbox.Event{Kind: "k"})
	}
	b.Drain()
	want(t, reg, map[string]float64{
		`outbox_outcomes_total{kind="k",lane="mail",verdict="delivered"}`: 200,
		`outbox_request_duration_seconds_count{lane="mail"}`:              200,
	})
	c.Close()
	stop()
	<-done
}

// Names that differ only in what is no UTF-8 are different lanes: one series twice would fail the scrape.
func TestNamesThatAreNoText(t *testing.T) {
	one, two := outboxtest.New(t, nil), outboxtest.New(t, nil)
	c := promoutbox.NewCollector(map[string]*outbox.Outbox{"m\xfe": one.Outbox, "m\xff": two.Outbox, "m\"\n\\": two.Outbox}, nil)
	defer c.Close()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	if err := r.Register(c); err == nil {
		t.Error("registered twice")
	}
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}
