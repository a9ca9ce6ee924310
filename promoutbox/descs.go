package promoutbox

import "github.com/prometheus/client_golang/prometheus"

// descs are the descriptors of what is read when it is scraped.
type descs struct {
	pending, dead, pendingBytes, deadBytes, fileBytes, oldest *prometheus.Desc
	state, held, throttled, paused                            *prometheus.Desc
	allowed, limit, mode, concurrency, abandoned              *prometheus.Desc
	put, delivered, expired, dropped, requests                *prometheus.Desc
}

func newDescs(o *Options) descs {
	of := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("outbox_"+name, help, append([]string{"lane"}, labels...), o.ConstLabels)
	}
	return descs{
		pending:      of("pending_events", "Events that are neither delivered nor given up, by state.", "state"),
		dead:         of("dead_events", "Events that were given up and wait for a person."),
		pendingBytes: of("pending_bytes", "Payloads of pending events."),
		deadBytes:    of("dead_bytes", "Payloads of dead events."),
		fileBytes:    of("file_bytes", "Size of the files of these lanes, each counted once, with an empty lane."),
		oldest:       of("oldest_ready_timestamp_seconds", "When the oldest event was put that could be sent. No sample: there is none. Scheduled events and those that failed do not count."),
		state:        of("lane_state", "How the lane is: exactly one state is 1.", "state"),
		held:         of("held", "What is broken, so that nothing is sent: 1 for the cause.", "cause"),
		throttled:    of("throttled_until_timestamp_seconds", "When the pause ends that the destination asked for. No sample: there is none."),
		paused:       of("paused_until_timestamp_seconds", "When the operator's pause ends; +Inf: with a resume. No sample: there is none."),
		allowed:      of("allowed_requests_per_second", "Rate that is allowed now, lower after a 429. No sample: no limit."),
		limit:        of("limit_requests_per_second", "Rate as set. No sample: no limit, or the limiter does not tell."),
		mode:         of("limiter_mode", "How the limiter works now, in its own words: 1 for that mode. No sample: it does not tell.", "mode"),
		concurrency:  of("concurrency", "Requests that may be in flight. 0: the lane only stores."),
		abandoned:    of("abandoned_requests", "Calls into a transport that ignores the end of its context."),
		put:          of("put_events_total", "Events put, since the file was made."),
		delivered:    of("delivered_events_total", "Events delivered, since the file was made."),
		expired:      of("expired_events_total", "Events that expired before they could be sent, since the file was made."),
		dropped:      of("dropped_events_total", "Events that a person or a rule removed, since the file was made."),
		requests:     of("requests_total", "Requests started since the lane was opened."),
	}
}

func (d *descs) all() []*prometheus.Desc {
	return []*prometheus.Desc{
		d.pending, d.dead, d.pendingBytes, d.deadBytes, d.fileBytes, d.oldest,
		d.state, d.held, d.throttled, d.paused, d.allowed, d.limit, d.mode, d.concurrency, d.abandoned,
		d.put, d.delivered, d.expired, d.dropped, d.requests,
	}
}
