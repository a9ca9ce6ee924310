package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/store/internal/format"
)

// BenchmarkSealed is what sealing costs. It puts items with a key from 64 goroutines into a plain and a
// sealed lane in turns, and drains each. Of all rounds the best of each lane is compared: other load on
// the machine only adds.
func BenchmarkSealed(b *testing.B) {
	const putters, each, keys = 64, 100, 10000
	lanes := [2]*Store{newBench(b, &Options{Gather: -1}), newBench(b, &Options{Gather: -1, Sealer: newSealer(b, "2026-03")})}
	appended, drained := [2]time.Duration{time.Hour, time.Hour}, [2]time.Duration{time.Hour, time.Hour}
	var bytes [2]int64
	for b.Loop() {
		for i, s := range lanes {
			began := time.Now()
			var all sync.WaitGroup
			for p := range putters {
				all.Go(func() {
					for j := range each {
						if err := s.Append(context.Background(), benchItem(fmt.Sprint("customer-", (p*each+j)%keys))); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			appended[i] = min(appended[i], time.Since(began))
			bytes[i] = s.Counts().Bytes
			began = time.Now()
			for got := 0; got < putters*each; {
				items := claims(b, s, 256)
				settle(b, s, delivered(items...)...)
				got += len(items)
			}
			drained[i] = min(drained[i], time.Since(began))
		}
	}
	b.ReportMetric(float64(appended[0].Nanoseconds())/(putters*each), "plain-ns/append")
	b.ReportMetric(float64(appended[1])/float64(appended[0]), "sealed/plain-append")
	b.ReportMetric(float64(drained[0].Nanoseconds())/(putters*each), "plain-ns/drained")
	b.ReportMetric(float64(drained[1])/float64(drained[0]), "sealed/plain-drain")
	b.ReportMetric(float64(bytes[1]-bytes[0])/(putters*each), "ledger-B-more/item")
}

// BenchmarkVault seals and opens one record of 600 bytes.
func BenchmarkVault(b *testing.B) {
	it := benchItem("customer-4711")
	v, c, k := format.Encode(&it), newCodec(b, format.DefaultLane, "2026-03"), format.ReadyKey(9)
	sealed, err := c.seal(v)
	if err != nil {
		b.Fatal(err)
	}
	format.Record(sealed).SetSum(format.Record(sealed).BodySum(), k)
	b.Run("seal", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.seal(v); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(sealed)-len(v)), "B-more")
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.open(k, sealed); err != nil {
				b.Fatal(err)
			}
		}
	})
	key := []byte(it.Key)
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			c.hash(key)
		}
	})
}
