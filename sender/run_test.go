package sender_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/sendertest"
)

func TestNew(t *testing.T) {
	var q sendertest.Memory
	ok := sender.TransportFunc(func(context.Context, sender.Item) error { return nil })
	for _, c := range []struct {
		name string
		q    sender.Queue
		t    sender.Transport
		l    sender.Limiter
		o    *sender.Options
		want []string // in the error; nil: none
	}{
		{"plain", &q, ok, nil, nil, nil},
		{"zero options", &q, ok, nil, &sender.Options{}, nil},
		{"limiter", &q, ok, &limiter.Limiter{PerSecond: 5}, nil, nil},
		{"no queue", nil, ok, nil, nil, []string{"queue"}},
		{"no transport", &q, nil, nil, nil, []string{"transport"}},
		{"nil function", &q, sender.TransportFunc(nil), nil, nil, []string{"transport"}},
		{"nil limiter of a type", &q, ok, (*limiter.Limiter)(nil), nil, []string{"limiter"}},
		{"bad limiter", &q, ok, &limiter.Limiter{PerSecond: -3}, nil, []string{"PerSecond", "-3"}},
		{"Concurrency", &q, ok, nil, &sender.Options{Concurrency: -7}, []string{"Concurrency", "-7", "0"}},
		{"too much Concurrency", &q, ok, nil, &sender.Options{Concurrency: math.MaxInt}, []string{"Concurrency", "65536", fmt.Sprint(math.MaxInt)}},
		{"Timeout", &q, ok, nil, &sender.Options{Timeout: -time.Hour}, []string{"Timeout", "-1h", "0"}},
	} {
		s, err := sender.New(c.q, c.t, c.l, c.o)
		if (err == nil) != (c.want == nil) || (s == nil) == (err == nil) {
			t.Errorf("%s: New returns %v, %v", c.name, s, err)
			continue
		}
		for _, word := range append(c.want, "sender: ") {
			if err != nil && !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error %q does not say %q", c.name, err, word)
			}
		}
	}
}

// The defaults are those of the doc comments.
func TestDefaults(t *testing.T) {
	in(t, func(l *lane) {
		l.answer("*", "timeout")
		l.put(strings.Repeat("x ", 11))
		l.run()
		synctest.Wait()
		if n, _ := l.inFlight(); n != 10 {
			l.Fatalf("%d requests in flight, want 10", n)
		}
		l.wait(30*time.Second - 1)
		if n := len(l.requests()); n != 10 {
			l.Fatalf("%d requests before the timeout, want 10", n)
		}
		l.wait(1)
		if n, _ := l.inFlight(); n > 1 {
			l.Fatalf("%d of the first 10 requests are in flight after 30s", n)
		}
	})
}

func TestConcurrency(t *testing.T) {
	for _, n := range []int{1, 2, 7} {
		in(t, func(l *lane) {
			l.options.Concurrency = n
			l.answer("*", "1s+ok")
			l.put(strings.Repeat("x ", 70))
			l.run()
			l.wait(70 * time.Second / time.Duration(n))
			l.ends("delivered 70")
			if _, most := l.inFlight(); most != n {
				l.Fatalf("%d requests in flight at once, want %d", most, n)
			}
		})
	}
}

// The longest Timeout is no reason to abandon anything.
func TestLongTimeout(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Timeout = math.MaxInt64
		l.answer("*", "10h+ok")
		l.put("a")
		l.run()
		l.wait(10 * time.Hour)
		l.ends("delivered 1")
		if l.logged("ignores") != 0 {
			l.Fatal("the call was abandoned")
		}
	})
}

// A put is sent at once; Wake may come before Run and never blocks.
func TestWake(t *testing.T) {
	in(t, func(l *lane) {
		l.make()
		for range 100 {
			l.s.Wake()
		}
		l.begin()
		l.wait(time.Hour)
		for range 100 {
			l.put("x")
			synctest.Wait()
			l.ends("delivered " + strings.TrimPrefix(l.ending(), "delivered "))
			if c := l.Counts(); c.Pending != 0 {
				l.Fatalf("%d items wait though nothing is in the way", c.Pending)
			}
		}
		l.stop()
		l.s.Wake()
	})
}

// An idle lane does nothing; one that waits for a time looks at the clock once a minute at most.
func TestNoPolling(t *testing.T) {
	in(t, func(l *lane) {
		q := &watched{Memory: &l.Memory}
		l.queue = q
		l.put("a b c")
		l.run()
		l.wait(time.Minute)
		before := q.claims.Load()
		l.wait(24 * time.Hour)
		if n := q.claims.Load() - before; n != 0 {
			l.Fatalf("an empty queue was asked %d times in a day", n)
		}
		l.append(sender.Item{ID: uuid.New(), Payload: []byte("later"), Due: time.Now().Add(24 * time.Hour)})
		before = q.claims.Load()
		l.wait(24*time.Hour - 1)
		if n := q.claims.Load() - before; n > 24*60+10 {
			l.Fatalf("the queue was asked %d times in a day", n)
		}
		l.ends("delivered 3, pending later")
		l.wait(1)
		l.ends("delivered 4")
	})
}
