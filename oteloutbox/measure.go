package oteloutbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Measure registers instruments for lanes, which are shown by their names in the map, until stop.
// Between two readings it only hears of outcomes. A nil outbox is left out. The map is copied.
//
// stop unregisters the instruments and stops observing. It does not wait for a reading that goes
// on, and may be called more than once. An error of Measure or of stop is one of the MeterProvider;
// then nothing is registered.
func Measure(lanes map[string]*outbox.Outbox, opts *Options) (stop func() error, err error) {
	o := opts.complete()
	m := newMeter(o.meter())
	for _, name := range slices.Sorted(maps.Keys(lanes)) {
		if b := lanes[name]; b != nil {
			m.lanes = append(m.lanes, newMeasured(name, b))
		}
	}
	if m.err != nil {
		return nil, m.err
	}
	registration, err := m.meter.RegisterCallback(m.observe, m.observed...)
	if err != nil {
		return nil, err
	}
	var stops []func()
	for _, l := range m.lanes {
		for _, verdict := range verdicts {
			m.outcomes.Add(context.Background(), 0, l.verdicts[verdict].add...) // the series exists before its first step
		}
		stops = append(stops, l.box.Observe(func(o sender.Outcome) { m.outcome(l, &o) }))
	}
	return func() error {
		for _, stop := range stops {
			stop()
		}
		return registration.Unregister()
	}, nil
}

// verdicts are the values of the attribute verdict. states are those of outbox.lane.state.
var (
	verdicts = []sender.Verdict{sender.Delivered, sender.Retry, sender.Dead, sender.Expired, sender.Released}
	states   = []sender.LaneState{
		sender.LaneSending, sender.LaneIdle, sender.LaneWaiting, sender.LaneThrottled,
		sender.LanePaused, sender.LaneHeld, sender.LaneStoring, sender.LaneClosed,
	}
)

// meter has the instruments. Nothing in it changes after Measure has returned.
type meter struct {
	meter    metric.Meter
	err      error // of what could not be made
	lanes    []*measured
	observed []metric.Observable

	pending, dead                    metric.Int64ObservableUpDownCounter
	put, delivered, expired, dropped metric.Int64ObservableCounter
	age, rate                        metric.Float64ObservableGauge
	state                            metric.Int64ObservableGauge
	delay                            metric.Float64Histogram
	outcomes                         metric.Int64Counter
}

func newMeter(by metric.Meter) *meter {
	m := &meter{meter: by}
	note := func(i metric.Observable, err error) {
		m.observed = append(m.observed, i)
		m.err = errors.Join(m.err, err)
	}
	upDown := func(name, about string) metric.Int64ObservableUpDownCounter {
		i, err := by.Int64ObservableUpDownCounter(name, metric.WithUnit("{event}"), metric.WithDescription(about))
		note(i, err)
		return i
	}
	counter := func(name, about string) metric.Int64ObservableCounter {
		i, err := by.Int64ObservableCounter(name, metric.WithUnit("{event}"), metric.WithDescription(about))
		note(i, err)
		return i
	}
	gauge := func(name, unit, about string) metric.Float64ObservableGauge {
		i, err := by.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
		note(i, err)
		return i
	}
	m.pending = upDown("outbox.events.pending", "Events that are neither delivered nor given up, by state.")
	m.dead = upDown("outbox.events.dead", "Events that were given up and wait for a person.")
	m.put = counter("outbox.events.put", "Events put, since the file was made.")
	m.delivered = counter("outbox.events.delivered", "Events delivered, since the file was made.")
	m.expired = counter("outbox.events.expired", "Events that expired before they could be sent, since the file was made.")
	m.dropped = counter("outbox.events.dropped", "Events that a person or a rule removed, since the file was made.")
	m.age = gauge("outbox.oldest.age", "s", "How long the oldest event waits that could be sent. None: there is none.")
	m.rate = gauge("outbox.rate.allowed", "{request}/s", "Rate that is allowed now. None: no limit.")
	state, err := by.Int64ObservableGauge("outbox.lane.state", metric.WithUnit("1"), metric.WithDescription("How the lane is: exactly one state is 1."))
	m.state = state
	note(state, err)
	const hour, day = 3600, 24 * 3600
	delay, err1 := by.Float64Histogram("outbox.delivery.delay", metric.WithUnit("s"), metric.WithDescription("Time from Put to delivery."),
		metric.WithExplicitBucketBoundaries(.1, 1, 5, 30, 60, 300, 1800, hour, 6*hour, day, 7*day))
	outcomes, err2 := by.Int64Counter("outbox.outcomes", metric.WithUnit("{event}"), metric.WithDescription("Outcomes of events, by verdict."))
	m.delay, m.outcomes = delay, outcomes
	m.err = errors.Join(m.err, err1, err2)
	return m
}

// measured is a lane with the attributes of its measurements.
type measured struct {
	box      *outbox.Outbox
	plain    metric.MeasurementOption
	all      by                     // plain, for measurements of outcomes
	verdicts [sender.Sending + 1]by // of verdicts; the rest is zero
	states   map[sender.LaneState]metric.MeasurementOption
	pending  [5]metric.MeasurementOption
}

func newMeasured(name string, b *outbox.Outbox) *measured {
	name = valid(name)
	with := func(more ...attribute.KeyValue) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(append(more, attrDestination.String(name))...))
	}
	l := &measured{box: b, plain: with(), all: newBy(attrDestination.String(name)), states: make(map[sender.LaneState]metric.MeasurementOption)}
	for _, v := range verdicts {
		l.verdicts[v] = newBy(attrDestination.String(name), attrVerdict.String(v.String()))
	}
	for _, s := range states {
		l.states[s] = with(attrState.String(string(s)))
	}
	for i, s := range [...]string{"ready", "in_flight", "in_line", "retrying", "scheduled"} {
		l.pending[i] = with(attrState.String(s))
	}
	return l
}

// observe takes a snapshot of each lane.
func (m *meter) observe(_ context.Context, to metric.Observer) error {
	for _, l := range m.lanes {
		s := l.box.Stats()
		for i, n := range [...]int{s.Ready, s.InFlight, s.InLine, s.Retrying, s.Scheduled} {
			to.ObserveInt64(m.pending, int64(n), l.pending[i])
		}
		to.ObserveInt64(m.dead, int64(s.Dead), l.plain)
		to.ObserveInt64(m.put, int64(s.Put), l.plain)
		to.ObserveInt64(m.delivered, int64(s.Delivered), l.plain)
		to.ObserveInt64(m.expired, int64(s.Expired), l.plain)
		to.ObserveInt64(m.dropped, int64(s.Dropped), l.plain)
		if s.Ready+s.InFlight > 0 && !s.OldestReady.IsZero() { // else what is old is in line, behind one that failed
			to.ObserveFloat64(m.age, max(0, time.Since(s.OldestReady).Seconds()), l.plain)
		}
		if s.Rate > 0 {
			to.ObserveFloat64(m.rate, s.Rate, l.plain)
		}
		for state, by := range l.states {
			var n int64
			if state == s.State {
				n = 1
			}
			to.ObserveInt64(m.state, n, by)
		}
	}
	return nil
}

// outcome counts an outcome. Several goroutines call it at once.
func (m *meter) outcome(l *measured, o *sender.Outcome) {
	if int(o.Verdict) >= len(l.verdicts) || l.verdicts[o.Verdict].add == nil {
		return
	}
	ctx := context.Background()
	m.outcomes.Add(ctx, 1, l.verdicts[o.Verdict].add...)
	if o.Verdict == sender.Delivered {
		// Created is by the wall clock, which may have been set back.
		m.delay.Record(ctx, max(0, o.Started.Add(o.Took).Sub(o.Item.Created).Seconds()), l.all.record...)
	}
}
