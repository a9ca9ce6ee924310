package promoutbox

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// verdicts are the values of the label verdict of outbox_outcomes_total. An event is told as
// sender.Sending to nobody.
var verdicts = []sender.Verdict{sender.Delivered, sender.Retry, sender.Dead, sender.Expired, sender.Released}

// vecs are the metrics of what was observed.
type vecs struct {
	outcomes *prometheus.CounterVec
	duration *prometheus.HistogramVec
	delay    *prometheus.HistogramVec
}

func newVecs(o *Options) vecs {
	labels := []string{"lane", "verdict"}
	if o.Kinds != nil {
		labels = append(labels, "kind")
	}
	const hour, day = 3600, 24 * 3600
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "outbox_" + name, Help: help, ConstLabels: o.ConstLabels, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"lane"})
	}
	return vecs{
		prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "outbox_outcomes_total", ConstLabels: o.ConstLabels,
			Help: "Outcomes of events since the collector was made, by verdict. A retry is a failure; released is an event that goes back untouched, as after a 429.",
		}, labels),
		histogram("request_duration_seconds", "How long requests took.",
			.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30),
		histogram("delivery_delay_seconds", "Time from Put to delivery.",
			.1, 1, 5, 30, 60, 300, 1800, hour, 6*hour, day, 7*day),
	}
}

func (v *vecs) all() []prometheus.Collector {
	return []prometheus.Collector{v.outcomes, v.duration, v.delay}
}

// of returns the metrics of a lane. All series exist from then on, at zero: increase() does not see
// the first step of a series that begins with it.
func (v *vecs) of(lane string, kinds []string) *counts {
	c := &counts{duration: v.duration.WithLabelValues(lane), delay: v.delay.WithLabelValues(lane)}
	counters := func(more ...string) (by byVerdict) {
		for _, verdict := range verdicts {
			by[verdict] = v.outcomes.WithLabelValues(append([]string{lane, verdict.String()}, more...)...)
		}
		return by
	}
	if kinds == nil {
		c.other = counters()
		return c
	}
	c.kinds = make(map[string]byVerdict, len(kinds))
	for _, kind := range kinds {
		c.kinds[kind] = counters(label(kind))
	}
	c.other = counters("other")
	return c
}

// byVerdict holds a counter for each of verdicts.
type byVerdict [sender.Sending + 1]prometheus.Counter

// counts are the metrics of a lane. Nothing in it changes.
type counts struct {
	kinds    map[string]byVerdict // of Options.Kinds
	other    byVerdict            // of all other kinds
	duration prometheus.Observer
	delay    prometheus.Observer
}

// A lane is an outbox under its name, and what it was seen to do.
type lane struct {
	name   string
	box    *outbox.Outbox
	counts *counts
	seen   [1024]atomic.Uint64 // the latest request numbers, each at its remainder
}

// observe counts an outcome. Several goroutines call it at once, and it never waits.
func (l *lane) observe(o sender.Outcome) {
	by, ok := l.counts.kinds[o.Item.Kind]
	if !ok {
		by = l.counts.other
	}
	if int(o.Verdict) < len(by) && by[o.Verdict] != nil {
		by[o.Verdict].Inc()
	}
	if o.Request == 0 {
		return
	}
	// The first item of a request finds another number in its place. A request is counted twice
	// only if one a multiple of 1024 later is told between two of its items, which are told
	// together, except for one that is refused while the sender waits for a success to tell it
	// apart from an outage.
	if l.seen[o.Request%uint64(len(l.seen))].Swap(o.Request) != o.Request {
		l.counts.duration.Observe(o.Took.Seconds())
	}
	if o.Verdict == sender.Delivered {
		// Created is by the wall clock, which may have been set back.
		l.counts.delay.Observe(max(0, o.Started.Add(o.Took).Sub(o.Item.Created).Seconds()))
	}
}
