package promoutbox

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Options are the settings of a [Collector]. nil and the zero value are fine.
type Options struct {
	// Kinds are the kinds of event that outbox_outcomes_total tells apart by the label kind. All others
	// are "other". Each kind costs five series for each lane. nil: there is no such label.
	Kinds []string
	// ConstLabels are added to all metrics, to tell two collectors in one registry apart.
	ConstLabels prometheus.Labels
}

// A Collector is a [prometheus.Collector] for a set of lanes. All methods are safe for concurrent use.
type Collector struct {
	d        descs
	lanes    []*lane // sorted by name
	vecs     vecs
	closed   atomic.Bool
	stopping []func() // what Observe returned
}

// NewCollector returns a collector for lanes, which are shown by their names in the map. It
// observes outcomes until Close; a nil outbox is left out. Register it once for each registry. The
// map and what o holds are copied. A nil o means the defaults.
func NewCollector(lanes map[string]*outbox.Outbox, o *Options) *Collector {
	if o == nil {
		o = new(Options)
	}
	c := &Collector{d: newDescs(o), vecs: newVecs(o)}
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		b := lanes[name]
		if b == nil {
			continue
		}
		l := &lane{name: label(name), box: b}
		l.counts = c.vecs.of(l.name, o.Kinds)
		c.lanes = append(c.lanes, l)
		c.stopping = append(c.stopping, b.Observe(l.observe))
	}
	return c
}

// Close stops observing. From then on the collector exports nothing, so the series of its lanes end.
// It does not wait, and may be called more than once. Unregister the collector as well if another one
// for the same lanes is to take its place.
func (c *Collector) Close() {
	c.closed.Store(true)
	for _, stop := range c.stopping {
		stop()
	}
}

// Describe sends the descriptors of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.d.all() {
		ch <- d
	}
	for _, v := range c.vecs.all() {
		v.Describe(ch)
	}
}

// Collect sends the metrics of each lane: one snapshot of it, and what was observed. It never waits for
// the disk.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	if c.closed.Load() {
		return
	}
	files := make(map[string]int64) // bytes by path
	for _, l := range c.lanes {
		s := l.box.Stats()
		if s.FileBytes > 0 {
			files[l.box.Path()] = s.FileBytes
		}
		c.d.lane(ch, l.name, &s)
	}
	var size int64
	for _, bytes := range files {
		size += bytes
	}
	ch <- prometheus.MustNewConstMetric(c.d.fileBytes, prometheus.GaugeValue, float64(size), "")
	for _, v := range c.vecs.all() {
		v.Collect(ch)
	}
}

// states are the values of the label state of outbox_lane_state.
var states = []sender.LaneState{
	sender.LaneSending, sender.LaneIdle, sender.LaneWaiting, sender.LaneThrottled,
	sender.LanePaused, sender.LaneHeld, sender.LaneStoring, sender.LaneClosed,
}

// causes are the values of the label cause of outbox_held.
var causes = []string{sender.HeldByDestination, sender.HeldByStorage, sender.HeldByLimiter, sender.HeldByTransport}

// lane sends what a snapshot tells.
func (d *descs) lane(ch chan<- prometheus.Metric, name string, s *outbox.Stats) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{name}, labels...)...)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), name)
	}
	at := func(d *prometheus.Desc, t time.Time) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixNano())/1e9)
		}
	}
	gauge(d.pending, float64(s.Ready), "ready")
	gauge(d.pending, float64(s.InFlight), "in_flight")
	gauge(d.pending, float64(s.InLine), "in_line")
	gauge(d.pending, float64(s.Retrying), "retrying")
	gauge(d.pending, float64(s.Scheduled), "scheduled")
	gauge(d.dead, float64(s.Dead))
	gauge(d.pendingBytes, float64(s.Bytes))
	gauge(d.deadBytes, float64(s.DeadBytes))
	if s.Ready+s.InFlight > 0 { // else what is old is in line, behind an event that failed
		at(d.oldest, s.OldestReady)
	}
	for _, state := range states {
		gauge(d.state, one(s.State == state), string(state))
	}
	for _, cause := range causes {
		gauge(d.held, one(s.HeldBy == cause), cause)
	}
	at(d.throttled, s.PausedUntil)
	switch p := s.OperatorPause; {
	case p == (sender.Pause{}):
	case p.Until.IsZero():
		gauge(d.paused, math.Inf(1))
	default:
		at(d.paused, p.Until)
	}
	if s.Rate > 0 {
		gauge(d.allowed, s.Rate)
	}
	if s.Limit > 0 {
		gauge(d.limit, s.Limit)
	}
	if s.LimiterMode != "" {
		gauge(d.mode, 1, label(s.LimiterMode))
	}
	gauge(d.concurrency, float64(s.Concurrency))
	gauge(d.abandoned, float64(s.Abandoned))
	counter(d.put, s.Put)
	counter(d.delivered, s.Delivered)
	counter(d.expired, s.Expired)
	counter(d.dropped, s.Dropped)
	counter(d.requests, s.Requests)
}

// one returns 1 for true.
func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// label returns a name as a label has to be: valid UTF-8. Each byte that is not becomes \x and its number,
// so that two names stay two.
func label(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var text strings.Builder
	for len(name) > 0 {
		r, n := utf8.DecodeRuneInString(name)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&text, `\x%02x`, name[0])
		} else {
			text.WriteString(name[:n])
		}
		name = name[n:]
	}
	return text.String()
}
