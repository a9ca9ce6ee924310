package customerio_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/customerio"
	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// Where each operation has its own request, an import gets what live events leave of the rate: little
// beside a backlog, and never nothing.
func TestImportGetsWhatLiveEventsLeave(t *testing.T) {
	t.Parallel()
	const seconds = 20
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(func(o *customerio.Options) { o.BatchItems = 1 })
		for i := range 90 * seconds { // more than the rate of 80 carries
			if _, err := c.Identify(t.Context(), customerio.ID("live"+strconv.Itoa(i)), nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		imported := make(chan struct{})
		go func() {
			defer close(imported)
			c.Import(ctx, customerio.ReadCSV(strings.NewReader(people(60*seconds))), nil)
		}()
		count := func() (live, rows uint64) {
			s := c.Stats()
			return s[customerio.LaneTrack].Delivered, s[customerio.LaneImport].Delivered
		}
		time.Sleep(time.Second)
		live, rows := count()
		time.Sleep((seconds - 2) * time.Second)
		liveThen, rowsThen := count()
		perSecond := func(n uint64) float64 { return float64(n) / (seconds - 2) }
		if l, r := perSecond(liveThen-live), perSecond(rowsThen-rows); l < 72 || r < 4 || r > 7 {
			t.Errorf("beside a backlog %.1f live events and %.1f rows a second, want about 75 and 5", l, r)
		}
		if err := c.Lane(customerio.LaneTrack).Flush(t.Context()); err != nil {
			t.Error(err)
		}
		_, rows = count()
		time.Sleep(5 * time.Second)
		if _, rowsThen = count(); rowsThen-rows < 5*45 {
			t.Errorf("without live events %d rows in 5 s, want about 250", rowsThen-rows)
		}
		cancel()
		<-imported
	})
}

// A pause that the import was told is of the API, and each lane of that API shows it.
func TestPauseShowsOnEachLaneOfTheAPI(t *testing.T) {
	bubble(t, nil, func(t *testing.T, w *world) {
		c := w.open(nil)
		w.Script(customeriotest.Fault{Status: 429, RetryAfter: customeriotest.RetryAfter{Form: customeriotest.Seconds, Delay: time.Minute}})
		ctx, cancel := context.WithCancel(t.Context())
		imported := make(chan struct{})
		go func() {
			defer close(imported)
			c.Import(ctx, customerio.ReadCSV(strings.NewReader(people(10))), nil)
		}()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		stats := c.Stats()
		until := stats[customerio.LaneImport].PausedUntil
		if until.IsZero() {
			t.Fatal("the import shows no pause")
		}
		if got := stats[customerio.LaneTrack].PausedUntil; !got.Equal(until) {
			t.Errorf("the track lane is paused until %v, the import until %v", got, until)
		}
		for _, name := range []customerio.Lane{customerio.LaneTransactional, customerio.LaneBroadcast} {
			if got := stats[name].PausedUntil; !got.IsZero() {
				t.Errorf("lane %s of another limit is paused until %v", name, got)
			}
		}
		time.Sleep(time.Minute)
		if got := c.Stats()[customerio.LaneTrack].PausedUntil; !got.IsZero() {
			t.Errorf("afterwards: %v", got)
		}
		cancel()
		<-imported
	})
}
