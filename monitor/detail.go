package monitor

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A detail is the JSON of one lane.
type detail struct {
	V   int       `json:"v"`
	Now time.Time `json:"now"`
	summary
	Series   series    `json:"series"`
	Episodes []episode `json:"episodes"` // oldest first
	Errors   []group   `json:"errors"`   // latest first
	Ages     *ages     `json:"ages,omitempty"`
}

// Ages is how old a sample of the ready events is.
type ages struct {
	Sample  int   `json:"sample"`
	Of      int   `json:"of"`
	Buckets []age `json:"buckets"`
}

// An age is the share of events that were put at most UpTo seconds ago, and before the age in
// front.
type age struct {
	UpTo  float64 `json:"up_to,omitempty"` // 0: older than all others
	Share float64 `json:"share"`
}

// detail describes a lane, without a sample of ages.
func (m *Monitor) detail(w *watched, a Access, now time.Time) detail {
	d := detail{V: version, Now: now.UTC(), summary: m.summary(w, a, now)}
	d.Series, d.Episodes, d.Errors = d.past.series, d.past.episodes, d.past.errors
	if d.Episodes == nil {
		d.Episodes = []episode{}
	}
	if d.Errors == nil {
		d.Errors = []group{}
	}
	return d
}

const (
	samplePlaces  = 50
	sampleAtPlace = 20
)

// sampleAges looks at ready events in places that lie evenly between the first and the last. nil:
// none could be read.
func sampleAges(ctx context.Context, w *watched, ready int, now time.Time) *ages {
	put := samplePut(ctx, w, ready)
	if len(put) == 0 {
		return nil
	}
	sort.Slice(put, func(i, j int) bool { return put[i].Before(put[j]) })
	bounds := ageBounds(now.Sub(put[0]))
	a := &ages{Sample: len(put), Of: max(ready, len(put)), Buckets: make([]age, len(bounds)+1)}
	for _, t := range put {
		i := sort.Search(len(bounds), func(i int) bool { return now.Sub(t) <= bounds[i] })
		a.Buckets[i].Share++
	}
	for i := range a.Buckets {
		if a.Buckets[i].Share /= float64(len(put)); i < len(bounds) {
			a.Buckets[i].UpTo = bounds[i].Seconds()
		}
	}
	return a
}

// ageBounds doubles three times from a unit, so that the oldest is not much above the last bound.
func ageBounds(oldest time.Duration) []time.Duration {
	unit := time.Second
	for _, next := range []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		if oldest <= 8*unit {
			break
		}
		unit = next
	}
	return []time.Duration{unit, 2 * unit, 4 * unit, 8 * unit}
}

// samplePut returns when ready events were put: all of them if they are few. To look in between, it
// needs to know where a Cursor has its Seq. If the store has another way of writing it, the sample
// is of both ends.
func samplePut(ctx context.Context, w *watched, ready int) (put []time.Time) {
	s := w.Stats()
	places := samplePlaces
	if s.Pending > 0 { // no more than 8 MB of payloads are read, if they are all alike
		places = min(places, max(2, 8<<20/sampleAtPlace/int(s.Bytes/int64(s.Pending)+1)))
	}
	met := make(map[uint64]bool)
	add := func(q sender.Query) (sender.Page, bool) {
		q.State = sender.StateReady
		page, err := w.List(ctx, q)
		for _, it := range page.Items {
			if it.Err == nil && !met[it.Seq] {
				met[it.Seq] = true
				put = append(put, it.Created)
			}
		}
		return page, err == nil
	}
	if ready <= places*sampleAtPlace {
		add(sender.Query{Limit: places * sampleAtPlace})
		return put
	}
	first, ok := add(sender.Query{Limit: sampleAtPlace})
	if !ok || first.Next == "" {
		return put
	}
	last, ok := add(sender.Query{Limit: sampleAtPlace, Newest: true})
	if !ok || len(first.Items) == 0 || len(last.Items) == 0 {
		return put
	}
	low, high := first.Items[len(first.Items)-1].Seq, last.Items[len(last.Items)-1].Seq
	prefix, ok := strings.CutSuffix(string(first.Next), fmt.Sprintf("%016x", low))
	for i := uint64(1); ok && i < uint64(places)-1 && low < high; i++ {
		after := sender.Cursor(fmt.Sprintf("%s%016x", prefix, low+(high-low)/uint64(places-1)*i))
		_, ok = add(sender.Query{Limit: sampleAtPlace, After: after})
	}
	return put
}
