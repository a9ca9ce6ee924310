package promoutbox_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/promoutbox"
)

// A scrape of n lanes, without the text that the HTTP handler makes of it.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprintf("lanes=%d", n), func(b *testing.B) {
			first := outboxtest.New(b, nil)
			lanes := map[string]*outbox.Outbox{"0": first.Outbox}
			for i := 1; i < n; i++ {
				l, err := first.Lane(fmt.Sprint(i), nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				lanes[fmt.Sprint(i)] = l
			}
			c := promoutbox.NewCollector(lanes, nil)
			defer c.Close()
			reg := prometheus.NewRegistry()
			reg.MustRegister(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := reg.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What 10,000 events cost to deliver without a collector, with one, and with 100 scrapes beside it.
func BenchmarkDrain(b *testing.B) {
	for _, with := range []string{"nothing", "collector", "collector and 100 scrapes"} {
		b.Run(with, func(b *testing.B) {
			box := outboxtest.New(b, &outboxtest.Options{Patience: time.Minute})
			reg := prometheus.NewRegistry()
			if with != "nothing" {
				c := promoutbox.NewCollector(map[string]*outbox.Outbox{"mail": box.Outbox}, nil)
				defer c.Close()
				reg.MustRegister(c)
			}
			es := make([]outbox.Event, 100)
			for b.Loop() {
				for range 100 {
					if _, err := box.PutAll(b.Context(), es...); err != nil {
						b.Fatal(err)
					}
					if with == "collector and 100 scrapes" {
						reg.Gather()
					}
				}
				if err := box.Outbox.Drain(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
