package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"

	"github.com/seed8107221f/outbox/sender"
)

// order512 is 512 bytes of JSON.
var order512 = func() []byte {
	const head, tail = `{"type":"order.placed","order":4711,"currency":"EUR","note":"`, `"}`
	return []byte(head + strings.Repeat("x", 512-len(head)-len(tail)) + tail)
}()

func benchItem(key string) sender.Item {
	return sender.Item{ID: uuid.New(), Kind: "order.placed", Key: key, Payload: order512, Created: time.Now()}
}

// newBench opens a store that is closed, but not checked, when the benchmark ends.
func newBench(b *testing.B, o *Options) *Store {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), "outbox"), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// each runs fn in n goroutines, b.N times in all.
func each(b *testing.B, n int, fn func() error) {
	b.Helper()
	b.ReportAllocs()
	if n == 1 {
		for b.Loop() {
			if err := fn(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	b.SetParallelism(max(1, n/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := fn(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkPut compares durable puts with one bbolt transaction each.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{1, 16, 128, 512} {
		b.Run(fmt.Sprintf("raw/%d", n), func(b *testing.B) {
			db, err := bolt.Open(filepath.Join(b.TempDir(), "raw"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { db.Close() })
			name := []byte("ready")
			if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(name); return err }); err != nil {
				b.Fatal(err)
			}
			each(b, n, func() error {
				return db.Update(func(tx *bolt.Tx) error {
					k := tx.Bucket(name)
					seq, err := k.NextSequence()
					return errors.Join(err, k.Put(binary.BigEndian.AppendUint64(nil, seq), order512))
				})
			})
		})
		b.Run(fmt.Sprintf("store/%d", n), func(b *testing.B) {
			s := newBench(b, nil)
			each(b, n, func() error { return s.Append(context.Background(), benchItem("")) })
		})
	}
}

func BenchmarkPutAll(b *testing.B) {
	s := newBench(b, nil)
	items := make([]sender.Item, 1000)
	for i := range items {
		items[i] = benchItem("")
	}
	b.SetBytes(int64(len(items) * len(order512)))
	each(b, 1, func() error { return s.Append(context.Background(), items...) })
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(items)), "ns/item")
}

// BenchmarkPutKeyed tells what order per key costs a producer.
func BenchmarkPutKeyed(b *testing.B) {
	keys := make([]string, 10000)
	for i := range keys {
		keys[i] = fmt.Sprint("customer-", i)
	}
	for _, keyed := range []bool{false, true} {
		b.Run(map[bool]string{false: "unkeyed", true: "keyed"}[keyed], func(b *testing.B) {
			s := newBench(b, nil)
			var n atomic.Uint64
			each(b, 64, func() error {
				key := ""
				if i := n.Add(1); keyed {
					key = keys[i%uint64(len(keys))]
				}
				return s.Append(context.Background(), benchItem(key))
			})
		})
	}
}

// fill appends n items, 10,000 at a time.
func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	items := make([]sender.Item, min(n, 10000))
	for ; n > 0; n -= len(items) {
		items = items[:min(n, len(items))]
		for i := range items {
			items[i] = benchItem("")
		}
		put(b, s, items...)
	}
}

func BenchmarkSettle(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newBench(b, &Options{Gather: -1})
			var items []sender.Item
			for b.Loop() {
				if len(items) < n {
					b.StopTimer()
					fill(b, s, 5000)
					for len(items) < n {
						items = append(items, claims(b, s, 5000)...)
					}
					b.StartTimer()
				}
				settle(b, s, delivered(items[:n]...)...)
				items = items[n:]
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/item")
		})
	}
}

// BenchmarkDrain claims and settles 100,000 items for a destination that takes no time.
func BenchmarkDrain(b *testing.B) {
	const n = 100000
	for b.Loop() {
		b.StopTimer()
		s := newBench(b, &Options{Gather: -1})
		fill(b, s, n)
		b.StartTimer()
		for got := 0; got < n; {
			items := claims(b, s, 256)
			settle(b, s, delivered(items...)...)
			got += len(items)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/item")
}

// BenchmarkSend is what sending at most once costs: a sender drains 2,000 items into a destination that
// takes no time, or 5 ms.
func BenchmarkSend(b *testing.B) {
	for _, latency := range []time.Duration{0, 5 * time.Millisecond} {
		for _, concurrency := range []int{10, 100} {
			for _, once := range []bool{false, true} {
				name := fmt.Sprintf("latency=%v/concurrency=%d/%s", latency, concurrency, map[bool]string{false: "at-least-once", true: "at-most-once"}[once])
				b.Run(name, func(b *testing.B) { benchSend(b, latency, &sender.Options{Concurrency: concurrency, AtMostOnce: once}) })
			}
		}
	}
}

func benchSend(b *testing.B, latency time.Duration, o *sender.Options) {
	const n = 2000
	for b.Loop() {
		b.StopTimer()
		s := newBench(b, nil)
		fill(b, s, n)
		d, err := sender.New(s, sender.TransportFunc(func(context.Context, sender.Item) error {
			time.Sleep(latency)
			return nil
		}), nil, o)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		b.StartTimer()
		go func() { ended <- d.Run(ctx) }()
		if err := d.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		if c := s.Counts(); c.Delivered != n {
			b.Fatalf("%+v", c)
		}
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "items/s")
}

// BenchmarkOpen opens a file with a million pending items, after a clean Close.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "outbox")
	s, err := Open(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, 1000000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	before, live := heap(), uint64(0)
	b.ResetTimer()
	for b.Loop() {
		s, err := Open(path, nil)
		if err != nil {
			b.Fatal(err)
		}
		if s.Counts().Ready != 1000000 {
			b.Fatalf("%+v", s.Counts())
		}
		b.StopTimer()
		if live == 0 {
			after := heap()
			live = after - min(after, before)
		}
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(live)/(1<<20), "MiB-live")
}
