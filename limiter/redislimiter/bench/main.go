// Command bench compares ways to share a rate limit through Redis, in one run:
//
//	go -C limiter/redislimiter/bench run .
//
// Several instances want all the starts that they can get. Each request is on its way for 0 to 50
// ms, and one strict receiver counts the requests in any rolling window. The command starts a
// redis-server of its own. Read the ratios between the rows: absolute times depend on the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter/redislimiter"
)

var (
	limit     = flag.Int("limit", 100, "requests that the receiver allows in any window")
	window    = flag.Duration("window", time.Second, "the window")
	instances = flag.Int("instances", 8, "how many want to send")
	duration  = flag.Duration("duration", 10*time.Second, "how long each row is measured, after two windows to start")
)

func main() {
	flag.Parse()
	if *limit < 1 || *window <= 0 || *instances < 1 || *duration <= 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// An algorithm makes the wait function of one instance.
type algorithm struct {
	name string
	open func(c *redis.Client) (wait func(context.Context) error, end func(), err error)
}

var algorithms = []algorithm{
	{"redis_rate, used directly", func(c *redis.Client) (func(context.Context) error, func(), error) {
		l := redis_rate.NewLimiter(c)
		per := redis_rate.Limit{Rate: *limit, Burst: *limit, Period: *window}
		return func(ctx context.Context) error {
			for {
				r, err := l.Allow(ctx, "rate", per)
				if err != nil || r.Allowed > 0 {
					return err
				}
				select {
				case <-time.After(r.RetryAfter):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}, func() {}, nil
	}},
	{"redislimiter", func(c *redis.Client) (func(context.Context) error, func(), error) {
		l, err := redislimiter.New(c, "log", *limit, *window, &redislimiter.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, nil, err
		}
		return l.Wait, func() { l.Close() }, nil
	}},
}

func run() error {
	addr, stop, err := startRedis()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Printf("limit %d in %v, %d instances, %v a row\n\n", *limit, *window, *instances, *duration)
	fmt.Println("| algorithm | refused | most in a window | reached of the limit | round trips a start | Wait p50 / p99 |")
	fmt.Println("|---|--:|--:|--:|--:|--:|")
	for _, a := range algorithms {
		if err := measure(a, addr); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
	}
	return nil
}

// trips counts the commands of a client.
type trips struct{ n atomic.Int64 }

func (t *trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		t.n.Add(1)
		return next(ctx, cmd)
	}
}
func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func measure(a algorithm, addr string) error {
	var (
		mu       sync.Mutex
		arrivals []time.Time
		waits    []time.Duration
		wg       sync.WaitGroup
		count    trips
	)
	from := time.Now().Add(2*(*window) + 2*time.Second)
	ctx, cancel := context.WithDeadline(context.Background(), from.Add(*duration))
	defer cancel()
	for range *instances {
		c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
		defer c.Close()
		c.AddHook(&count)
		wait, end, err := a.open(c)
		if err != nil {
			return err
		}
		defer end()
		wg.Go(func() {
			for {
				began := time.Now()
				if wait(ctx) != nil {
					return
				}
				now := time.Now()
				mu.Lock()
				arrivals = append(arrivals, now.Add(rand.N(50*time.Millisecond)))
				waits = append(waits, now.Sub(began))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(arrivals, time.Time.Compare)
	slices.Sort(waits)
	reached := 0
	for _, at := range arrivals {
		if at.After(from) {
			reached++
		}
	}
	refused, most := judge(arrivals)
	fmt.Printf("| %s | %d | %d | %.3f | %.2f | %v / %v |\n", a.name, refused, most,
		float64(reached)/duration.Seconds()*window.Seconds()/float64(*limit), float64(count.n.Load())/float64(len(arrivals)),
		waits[len(waits)/2].Round(100*time.Microsecond), waits[len(waits)*99/100].Round(time.Millisecond))
	return nil
}

// judge counts as a strict receiver does: a request that finds limit accepted ones in the window
// before it is refused. most is the fullest window, refused requests included.
func judge(arrivals []time.Time) (refused, most int) {
	var accepted []time.Time
	first := 0
	for i, at := range arrivals {
		for at.Sub(arrivals[first]) >= *window {
			first++
		}
		most = max(most, i-first+1)
		for len(accepted) > 0 && at.Sub(accepted[0]) >= *window {
			accepted = accepted[1:]
		}
		if len(accepted) >= *limit {
			refused++
			continue
		}
		accepted = append(accepted, at)
	}
	return refused, most
}

func startRedis() (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "")
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	c := redis.NewClient(&redis.Options{Addr: addr})
	defer c.Close()
	for range 200 {
		if err = c.Ping(context.Background()).Err(); err == nil {
			return addr, stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("redis-server does not answer: %w", err)
}
