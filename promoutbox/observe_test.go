package promoutbox

import (
	"testing"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// Observing allocates nothing.
func TestObserveAllocates(t *testing.T) {
	v := newVecs(&Options{Kinds: []string{"k"}})
	l := &lane{counts: v.of("mail", []string{"k"})}
	o := sender.Outcome{Item: sender.Item{Kind: "k", Created: time.Now()}, Started: time.Now(), Took: time.Millisecond}
	l.observe(o) // makes the native buckets
	if n := testing.AllocsPerRun(1000, func() { o.Request++; l.observe(o) }); n != 0 {
		t.Errorf("%v allocations an outcome", n)
	}
}

// BenchmarkObserve is one outcome of a request of its own.
func BenchmarkObserve(b *testing.B) {
	v := newVecs(new(Options))
	l := &lane{counts: v.of("mail", nil)}
	o := sender.Outcome{Verdict: sender.Delivered, Item: sender.Item{Kind: "k", Created: time.Now()}, Started: time.Now(), Took: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		o.Request++
		l.observe(o)
	}
}
