// Package promoutbox exports what outboxes count, for Prometheus.
//
// A [Collector] reads [outbox.Outbox.Stats] when it is scraped, and hears of outcomes through
// [outbox.Outbox.Observe]. Between scrapes nothing runs. Names and units follow the conventions of
// Prometheus (https://prometheus.io/docs/practices/naming/); the README of this package lists them
// all.
//
//	c := promoutbox.NewCollector(map[string]*outbox.Outbox{"mail": b}, nil)
//	defer c.Close()
//	registry.MustRegister(c)
//
// The files alerts.yml and dashboard.json beside this package are alert rules for Prometheus and a
// dashboard for Grafana.
//
// # Caveats
//
// No label carries a key, an ID or an error: keys name people, and each value is a series for ever.
// The kind of an event is a label only for the kinds that [Options].Kinds lists.
//
// Metrics of the ledger (put, delivered, expired, dropped) are kept in the file, so a restart does
// not reset them. Metrics of requests and outcomes begin at zero with each collector.
// outbox_requests_total begins at zero with each [outbox.Outbox].
//
// A gauge of a time that does not exist has no sample: an empty lane has no
// outbox_oldest_ready_timestamp_seconds. So compute ages as time() minus the time stamp, and do not
// alert on absent(): it is the normal state.
//
// An event that waits in line behind one that failed counts as the oldest while another event could
// be sent. So the age of a lane can be the age of a key whose first event fails again and again.
//
// A scrape does not wait for the disk. It is one snapshot for each lane, so the gauges of a lane
// agree with each other, and counters of different lanes may be microseconds apart.
package promoutbox
