package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

const customerioRow = "identify"

var customerioSuite = suite{
	name:   "customerio",
	title:  "Customer.io",
	intro:  "Identifies put in groups of 500 and delivered in batches, at the 80 requests a second of `customerio`, to the stand-in of `customeriotest`, which checks every one of them and shares this machine's cores.",
	rounds: 3,
	cells: func(s scale) []cell {
		return []cell{{"", customerioRow, spec{Op: "customerio", Duration: pick(s, 5*s.duration, 500*time.Millisecond)}}}
	},
	columns: []column{
		{"identifies/s", "rate", number, true},
		{"requests/s", "requests", number, false},
		{"refused", "refused", grouped, false},
	},
}

func customerioOp(s spec) (m metrics, err error) {
	server := customeriotest.NewServer(&customeriotest.Options{CountOnly: true})
	defer server.Close()
	c, err := customerio.Open(filepath.Join(s.Dir, "customerio.db"), &customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: server.URL()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	begin := time.Now().Add(min(time.Second, s.Duration/2)) // the limiter is at its pace
	end := begin.Add(s.Duration)
	var before customeriotest.Verdict
	var began time.Time
	ops := make([]customerio.Operation, 500)
	for n := 0; time.Now().Before(end); {
		if began.IsZero() && time.Now().After(begin) {
			before, began = server.Verdict(), time.Now()
		}
		pending := 0
		for _, lane := range c.Stats() {
			pending += lane.Pending
		}
		if pending > 20_000 {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := range ops {
			ops[i] = customerio.Operation{Type: "person", Action: "identify",
				Identifiers: customerio.ID(fmt.Sprint("p", n)), Attributes: map[string]any{"n": n}}
			n++
		}
		if _, err := c.Put(context.Background(), ops...); err != nil {
			return nil, err
		}
	}
	after, took := server.Verdict(), time.Since(began).Seconds()
	return metrics{
		"rate":     float64(after.Unique-before.Unique) / took,
		"requests": float64(after.Requests-before.Requests) / took,
		"refused":  float64(after.RefusedForRate),
	}, nil
}
