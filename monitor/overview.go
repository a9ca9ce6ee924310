package monitor

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// version is the version of the JSON. Fields are only ever added.
const version = 1

// An overview is the JSON of the lanes. Times are in UTC, and absent when there is none; durations
// are in seconds.
type overview struct {
	V     int       `json:"v"`
	Now   time.Time `json:"now"`
	File  *file     `json:"file,omitempty"` // nil: the lanes are in several, and each names its own
	Lanes []summary `json:"lanes"`          // worst first
}

type file struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// A summary is the JSON of how a lane is.
type summary struct {
	Name      string           `json:"name"`
	File      *file            `json:"file,omitempty"`
	State     sender.LaneState `json:"state"`
	Held      *held            `json:"held,omitempty"`
	Throttled *throttled       `json:"throttled,omitempty"`
	Paused    *paused          `json:"paused,omitempty"`

	Pending   int       `json:"pending"`
	Ready     int       `json:"ready"`
	InLine    int       `json:"in_line"`
	InFlight  int       `json:"in_flight"`
	Retrying  int       `json:"retrying"`
	Scheduled int       `json:"scheduled"`
	Dead      int       `json:"dead"`
	Bytes     int64     `json:"bytes"`
	DeadBytes int64     `json:"dead_bytes"`
	Oldest    time.Time `json:"oldest,omitzero"`

	Rate        float64  `json:"rate"`                   // requests a second now allowed; 0: no limit
	Limit       float64  `json:"limit"`                  // as set; 0: no limit
	LimiterMode string   `json:"limiter_mode,omitempty"` // how the limiter works now, as "shared"; "": it does not tell
	Requests    float64  `json:"requests_per_second"`
	SecondsLeft *float64 `json:"seconds_left,omitempty"` // absent: cannot tell
	Concurrency int      `json:"concurrency"`
	Abandoned   int      `json:"abandoned"`
	Fallback    string   `json:"fallback,omitempty"`
	Ledger      ledger   `json:"ledger"`
	You         you      `json:"you"`

	stats outbox.Stats
	past  past
	left  left
}

type held struct {
	By    string    `json:"by"`
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error"`
	Probe time.Time `json:"probe,omitzero"`
}

type throttled struct {
	Until time.Time `json:"until"`
}

type paused struct {
	Until  time.Time `json:"until,omitzero"`
	Since  time.Time `json:"since"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

type ledger struct {
	Put       uint64 `json:"put"`
	Delivered uint64 `json:"delivered"`
	Expired   uint64 `json:"expired"`
	Dropped   uint64 `json:"dropped"`
}

// you is what the reader may do.
type you struct {
	Name    string `json:"name"`
	Act     bool   `json:"act"`
	Payload bool   `json:"payload"`
}

// overview describes the lanes that may be read.
func (m *Monitor) overview(now time.Time, may func(lane string) Access) overview {
	o := overview{V: version, Now: now.UTC(), Lanes: []summary{}}
	paths := make(map[string]bool)
	for _, w := range m.lanes {
		if a := may(w.name); a.Read {
			o.Lanes = append(o.Lanes, m.summary(w, a, now))
			paths[w.Path()] = true
		}
	}
	slices.SortStableFunc(o.Lanes, func(a, b summary) int { return cmp.Compare(a.word().worst, b.word().worst) })
	if len(paths) == 1 {
		o.File = o.Lanes[0].File
		for i := range o.Lanes {
			o.Lanes[i].File = nil
		}
	}
	return o
}

// summary describes a lane.
func (m *Monitor) summary(w *watched, a Access, now time.Time) summary {
	p := w.seen.read(now, m.since)
	s := w.Stats()
	f := w.file(&s)
	d := summary{Name: w.name, File: &f, State: s.State,
		Pending: s.Pending, Ready: s.Ready, InLine: s.InLine, InFlight: s.InFlight, Retrying: s.Retrying, Scheduled: s.Scheduled,
		Dead: s.Dead, Bytes: s.Bytes, DeadBytes: s.DeadBytes, Oldest: s.Oldest.UTC(),
		Rate: s.Rate, Limit: s.Limit, LimiterMode: s.LimiterMode, Requests: math.Round(p.rate*100) / 100, Concurrency: s.Concurrency, Abandoned: s.Abandoned,
		Fallback: s.Fallback, Ledger: ledger{s.Put, s.Delivered, s.Expired, s.Dropped}, You: you{a.Name, a.Act, a.Payload},
		stats: s, past: p, left: timeLeft(&s, &p)}
	if s.Held != "" {
		d.Held = &held{By: s.HeldBy, Since: s.HeldSince.UTC(), Error: heldCause(&s), Probe: s.Probe.UTC()}
	}
	if !s.PausedUntil.IsZero() {
		d.Throttled = &throttled{s.PausedUntil.UTC()}
	}
	if pause := s.OperatorPause; pause.On(now) {
		d.Paused = &paused{pause.Until.UTC(), pause.Since.UTC(), pause.By, pause.Reason}
	}
	if d.left.known {
		seconds := math.Ceil(d.left.span.Seconds())
		d.SecondsLeft = &seconds
	}
	return d
}

// left is how long it takes to send what may be sent.
type left struct {
	known bool
	span  time.Duration
	why   string // by what it was reckoned
}

// timeLeft reckons with what is allowed, or with the pace of the last minute if that is lower and
// the lane sends. It does not count what is scheduled.
func timeLeft(s *outbox.Stats, p *past) left {
	n := float64(s.Pending - s.Scheduled)
	if n <= 0 {
		return left{known: true, why: "nothing waits"}
	}
	rate := s.Rate
	if s.Rate < s.Limit && s.State != sender.LaneSending {
		rate = s.Limit // what it climbs back to
	}
	allowed := rate * p.perRequest()
	sending := s.State == sender.LaneSending
	var l left
	switch {
	case sending && p.pace > 0 && (allowed <= 0 || p.pace < allowed):
		l = left{true, seconds(n / p.pace), "at the pace of the last minute, " + perSecond(p.pace) + "/s"}
	case allowed > 0:
		l = left{true, seconds(n / allowed), "at " + perSecond(allowed) + "/s, as allowed"}
	default:
		return left{why: "no limit is set, and nothing was delivered lately"}
	}
	if !sending {
		l.why = "once the lane opens, " + l.why
	}
	return l
}

// seconds returns a duration, at most a century.
func seconds(f float64) time.Duration {
	return time.Duration(min(f, 100*365*24*3600) * float64(time.Second))
}

// perRequest returns how many events a request carried lately: 1 if nothing is known.
func (p *past) perRequest() float64 {
	requests, items := 0.0, 0.0
	for i := range p.Started {
		requests += float64(p.Started[i])
		items += float64(p.Delivered[i])
	}
	if requests == 0 {
		return 1
	}
	return max(1, items/requests)
}
