package customerio_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// Identifies put in groups of 500 and delivered, at 80 requests a second. The stand-in, which checks
// every one of them, runs on the same machine.
func BenchmarkIdentify(b *testing.B) {
	s := customeriotest.NewServer(&customeriotest.Options{CountOnly: true})
	defer s.Close()
	c, err := customerio.Open(filepath.Join(b.TempDir(), "bench.db"), &customerio.Options{SiteID: "site", TrackKey: "track-key", TrackURL: s.URL()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	n, began := 0, time.Now()
	for b.Loop() {
		if n++; n%500 == 0 {
			if _, err := c.Put(b.Context(), identifies(n, 500)...); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := c.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	v, took := s.Verdict(), time.Since(began).Seconds()
	b.ReportMetric(float64(v.Unique)/took, "ops/s")
	b.ReportMetric(float64(v.Requests)/took, "requests/s")
	b.ReportMetric(float64(v.RefusedForRate), "refused")
}
