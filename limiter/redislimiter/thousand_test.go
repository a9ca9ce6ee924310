package redislimiter

import (
	"container/heap"
	"context"
	"fmt"
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

// TestThousand simulates fleets in which each instance wants all it can get, a call takes 1 ms, and
// time passes at once. The script and Redis are the real ones. It logs the figures of docs/scale.md.
func TestThousand(t *testing.T) {
	c := redisOf(t)
	for _, f := range []struct{ instances, limit, seconds int }{{10, 100, 60}, {100, 100, 60}, {1000, 100, 60}, {1000, 1000, 20}} {
		t.Run(fmt.Sprintf("%d instances, %d a second", f.instances, f.limit), func(t *testing.T) {
			if f.instances == 1000 && testing.Short() {
				t.Skip("many calls")
			}
			thousand(t, c, f.instances, f.limit, f.seconds)
		})
	}
}

func thousand(t *testing.T, c *redis.Client, instances, limit, seconds int) {
	ctx := context.Background()
	if err := c.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	const call, zero = 1000, int64(1e15)
	rng := rand.New(rand.NewPCG(uint64(instances), uint64(limit)))
	script := redis.NewScript(testClock.Replace(take))
	warm, end := zero+3e6, zero+3e6+int64(seconds)*1e6
	var queue askers
	for i := range instances {
		queue = append(queue, asker{zero + rng.Int64N(1e6), i})
	}
	heap.Init(&queue)
	var starts []int64
	calls, reached, by := 0, 0, make([]int, instances)
	for {
		a := heap.Pop(&queue).(asker)
		if a.at >= end {
			break
		}
		if err := c.HSet(ctx, "test", "seconds", a.at/1e6, "micros", a.at%1e6, "run", "run_id:1").Err(); err != nil {
			t.Fatal(err)
		}
		v, err := script.Run(ctx, c, []string{"outbox:{m}"}, limit, int64(1e6), int64(1e5), 1, 0, "", rng.Float64(), "run", "pauses").Int64Slice()
		if err != nil {
			t.Fatal(err)
		}
		received, next := a.at+call, int64(0)
		if len(v) > 8 {
			at := received + v[8]
			starts = append(starts, at)
			if next = at; at >= warm && at < end {
				reached++
				by[a.instance]++
			}
		} else {
			next = received + v[0]
		}
		if a.at >= warm {
			calls++
		}
		heap.Push(&queue, asker{next + call, a.instance})
	}
	slices.Sort(starts)
	for i := limit; i < len(starts); i++ {
		if span := starts[i] - starts[i-limit]; span < 1e6 {
			t.Fatalf("%d starts within %v, %d allowed in a second", limit+1, time.Duration(span)*time.Microsecond, limit)
		}
	}
	share := float64(reached) / float64(seconds) / float64(limit)
	if most := 1 / 1.1; share < 0.97*most {
		t.Errorf("%.3f of the limit is reached, at least 0.97 of %.3f expected", share, most)
	}
	t.Logf("%d instances, limit %d: %.3f of the limit reached, %.1f calls a start, %.0f calls a second, %d to %d starts an instance in %d s",
		instances, limit, share, float64(calls)/float64(reached), float64(calls)/float64(seconds), slices.Min(by), slices.Max(by), seconds)
}
