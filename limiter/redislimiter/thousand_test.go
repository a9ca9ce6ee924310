package redislimiter

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// An asker is an instance of TestThousand that asks again at a moment.
type asker struct {
	at       int64
	instance int
	place    string // "place" if it comes when it was told to ask again
}

type askers []asker

func (a askers) Len() int           { return len(a) }
func (a askers) Less(i, j int) bool { return a[i].at < a[j].at }
func (a askers) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *askers) Push(x any)        { *a = append(*a, x.(asker)) }
func (a *askers) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// A fleet of TestThousand.
type simulated struct {
	instances, limit int
	window           time.Duration
	seconds          int64
	gone             int     // how many instances are gone at half time, and keep their places in line
	calls            float64 // calls a start, at most
}

// TestThousand simulates fleets in which each instance wants all it can get, a call takes 1 ms, and
// time passes at once. The script and Redis are the real ones. It logs the figures of docs/scale.md.
func TestThousand(t *testing.T) {
	t.Parallel()
	c := redisOf(t)
	for _, f := range []simulated{
		{8, 100, time.Second, 60, 0, 1.1},
		{100, 100, time.Second, 60, 0, 2.1},
		{1000, 100, time.Second, 60, 0, 2.1},
		{1000, 1000, time.Second, 10, 0, 2.1},
		{1000, 100, time.Second, 60, 900, 2.1},
		{8, 1, 10 * time.Second, 2000, 0, 12},
	} {
		f.run(t, c)
	}
}

func (f simulated) run(t *testing.T, c *redis.Client) {
	ctx := context.Background()
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	const call, jitter, zero = 1000, int64(1e5), int64(1e15)
	window := f.window.Microseconds()
	rng := rand.New(rand.NewPCG(uint64(f.instances), uint64(f.limit)))
	script := loaded(t, c, testClock.Replace(take))
	warm := zero + window + jitter + 2e6 // the quiet time is over
	half, end := warm+f.seconds*5e5, warm+f.seconds*1e6
	var queue askers
	for i := range f.instances {
		queue = append(queue, asker{zero + rng.Int64N(1e6), i, ""})
	}
	heap.Init(&queue)
	var starts []int64
	calls, reached, by := 0, 0, make([]int, f.instances)
	for {
		a := heap.Pop(&queue).(asker)
		if a.at >= end {
			break
		}
		if a.at >= half && a.instance < f.gone {
			continue
		}
		v, err := at(c, script, a.at, "1", f.limit, window, jitter, 1, 0, "", rng.Float64(), "run", "pauses", a.place, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		received, next, place := a.at+call, int64(0), ""
		if len(v) > 9 {
			at := received + v[9]
			starts = append(starts, at)
			if next = at; at >= warm && at < end {
				reached++
				by[a.instance]++
			}
		} else {
			next, place = received+v[0], "place"
		}
		if a.at >= warm {
			calls++
		}
		heap.Push(&queue, asker{next + call, a.instance, place})
	}
	slices.Sort(starts)
	for i := f.limit; i < len(starts); i++ {
		if span := starts[i] - starts[i-f.limit]; span < window {
			t.Fatalf("%+v: %d starts within %v", f, f.limit+1, time.Duration(span)*time.Microsecond)
		}
	}
	share := float64(reached) / float64(f.seconds) / float64(f.limit) * f.window.Seconds()
	if most := float64(window) / float64(window+jitter); share < 0.97*most {
		t.Errorf("%+v: %.3f of the limit is reached, at least 0.97 of %.3f expected", f, share, most)
	}
	by = by[f.gone:]
	least, most := slices.Min(by), slices.Max(by)
	if f.limit >= 10 && f.gone == 0 && most-least > max(2, most/5) { // a slow line is too long for places
		t.Errorf("%+v: %d to %d starts an instance, within a fifth expected", f, least, most)
	}
	perStart := float64(calls) / float64(reached)
	if perStart > f.calls {
		t.Errorf("%+v: %.2f calls a start, at most %v expected", f, perStart, f.calls)
	}
	t.Logf("%d instances, %d gone at half time, %d in %v: %.3f of the limit reached, %.1f calls a start, %.1f calls a second, %d to %d starts an instance in %d s",
		f.instances, f.gone, f.limit, f.window, share, perStart, float64(calls)/float64(f.seconds), least, most, f.seconds)
}
