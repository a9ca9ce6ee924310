package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/seed8107221f/outbox/sender"
)

// jumping is the time of a bubble whose wall clock is set back and forth by hours, while the monotonic one
// runs on. Times in a bubble have no monotonic reading; its have, as those outside.
type jumping struct{ off atomic.Int64 } // of the wall clock, in seconds

func (j *jumping) now() time.Time { return j.at(time.Now()) }

// at is what the clock says when the bubble says t.
func (j *jumping) at(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	steady := t.UnixNano()
	wall := t.Add(time.Duration(j.off.Load()) * time.Second)
	words := (*[2]uint64)(unsafe.Pointer(&t))
	words[0] = 1<<63 | uint64(wall.Unix()-time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix())<<30 | uint64(wall.Nanosecond())
	words[1] = uint64(steady)
	return t
}

// back is when the bubble says that this clock says t, by the monotonic reading.
func (j *jumping) back(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Now().Add(t.Sub(j.now()))
}

// jumpingQueue gives a lane the times of a sender whose clock jumps.
type jumpingQueue struct {
	*Store
	*jumping
}

func (q jumpingQueue) Claim(ctx context.Context, now time.Time, max, bytes int) ([]sender.Item, time.Time, error) {
	items, next, err := q.Store.Claim(ctx, q.at(now), max, bytes)
	return items, q.back(next), err
}

func (q jumpingQueue) Settle(ctx context.Context, outcomes ...sender.Outcome) error {
	for i := range outcomes {
		o := &outcomes[i]
		o.Due, o.PauseUntil = q.at(o.Due), q.at(o.PauseUntil)
	}
	return q.Store.Settle(ctx, outcomes...)
}

func (q jumpingQueue) Paused() time.Time { return q.back(q.Store.Paused()) }

func (q jumpingQueue) Mark(ctx context.Context, now time.Time) (uint64, error) {
	return q.Store.Mark(ctx, q.at(now))
}

func (q jumpingQueue) Unsent(ctx context.Context, now time.Time, mark uint64) (bool, error) {
	return q.Store.Unsent(ctx, q.at(now), mark)
}

// A wall clock that is set back and forth by hours, ten times a second, starves nothing and hurries nothing:
// retries come after their backoff, nothing is sent in a pause that the destination ordered, what is
// scheduled goes in its time, and the dead are kept as long as they are to be.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := &jumping{}
		s, err := open(filepath.Join(t.TempDir(), "outbox"), &Options{LockTimeout: -1, KeepDead: 48 * time.Hour}, clock.now)
		if err != nil {
			t.Fatal(err)
		}
		checkAtEnd(t, s)
		stop, jumped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(jumped)
			r := rand.New(rand.NewPCG(1, 2))
			for n := 0; ; n++ {
				every := 100 * time.Millisecond
				if n > 10*900 { // after a quarter of an hour
					every = time.Minute
				}
				select {
				case <-stop:
					return
				case <-time.After(every):
					clock.off.Store(r.Int64N(6*3600) - 3*3600)
				}
			}
		}()

		const retried, paused = 3, 10 // tries of each item; a pause at every tenth request
		var mu sync.Mutex
		var requests int
		var quiet time.Time // nothing may begin before
		tries := make(map[string][]time.Time)
		transport := sender.TransportFunc(func(_ context.Context, it sender.Item) error {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if now.Before(quiet) {
				t.Errorf("%s began %v before the end of the pause", it.Kind, quiet.Sub(now))
			}
			if requests++; requests%paused == 0 {
				quiet = now.Add(7 * time.Second)
				return sender.Throttled(errors.New("wait"), 7*time.Second)
			}
			if it.Kind == "dead" {
				return sender.Permanent(errors.New("no"))
			}
			tries[it.Kind] = append(tries[it.Kind], now)
			if strings.HasPrefix(it.Kind, "retry") && len(tries[it.Kind]) < retried {
				return errors.New("again")
			}
			return nil
		})
		snd, err := sender.New(jumpingQueue{s, clock}, transport, nil, &sender.Options{
			Concurrency: 1, Backoff: func(int) time.Duration { return 5 * time.Second },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Attach(snd.Wake)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- snd.Run(ctx) }()

		began := time.Now()
		scheduled := event("scheduled", "")
		scheduled.Due = began.Add(12 * time.Hour).Round(0)
		put(t, s, scheduled, event("dead", ""))
		for i := range 40 {
			put(t, s, event(fmt.Sprint("retry", i), fmt.Sprint("key", i%7)), event(fmt.Sprint("plain", i), ""))
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		if c := s.Counts(); c.Delivered != 80 || c.Dead != 1 || c.Scheduled != 1 {
			t.Errorf("after ten minutes %+v; want 80 delivered", c)
		}
		mu.Lock()
		for name, at := range tries {
			for i := 1; i < len(at); i++ {
				if wait := at[i].Sub(at[i-1]); wait < 5*time.Second {
					t.Errorf("%s came again after %v, 5s were to pass", name, wait)
				}
			}
		}
		mu.Unlock()
		time.Sleep(16 * time.Hour) // the clock is wrong by three hours at most
		mu.Lock()
		if at := tries["scheduled"]; len(at) != 1 || at[0].Sub(began) < 9*time.Hour || at[0].Sub(began) > 15*time.Hour {
			t.Errorf("scheduled in 12h went at %v", at)
		}
		mu.Unlock()
		put(t, s, event("plain", "")) // each commit looks after the dead
		if c := s.Counts(); c.Dead != 1 {
			t.Errorf("after 16h of 48h the dead are gone: %+v", c)
		}
		time.Sleep(40 * time.Hour)
		put(t, s, event("plain", ""))
		if c := s.Counts(); c.Dead != 0 || c.Dropped != 1 {
			t.Errorf("after 56h of 48h the dead are there: %+v", c)
		}
		close(stop)
		<-jumped
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
