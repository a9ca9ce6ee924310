package acceptance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
)

// A moody destination takes batches and answers by chance. It reports what must not happen: two events
// of a key at once, and an event before an earlier one of its key.
type moody struct {
	t *testing.T

	mu     sync.Mutex // a leaf
	starts []time.Time
	flying map[string]bool // by key
	last   map[string]int  // by key: the number that was accepted last
}

func (d *moody) BatchLimit() (items, bytes int) { return 5, 0 }

func (d *moody) Send(ctx context.Context, it sender.Item) error {
	return d.SendBatch(ctx, []sender.Item{it})[0]
}

func (d *moody) SendBatch(_ context.Context, items []sender.Item) []error {
	d.mu.Lock()
	d.starts = append(d.starts, time.Now())
	for _, it := range items {
		if d.flying[it.Key] {
			d.t.Errorf("two events of key %s at once", it.Key)
		}
		d.flying[it.Key] = true
	}
	d.mu.Unlock()
	time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	mood := rand.IntN(30)
	errs := make([]error, len(items))
	for i, it := range items {
		delete(d.flying, it.Key)
		switch n, _ := strconv.Atoi(string(it.Payload)); {
		case mood == 0:
			errs[i] = sender.Throttled(errors.New("429"), 2*time.Second)
		case mood == 1 && len(items) > 1:
			errs[i] = sender.Split(errors.New("413"))
		case mood == 2:
			errs[i] = errors.New("500")
		case rand.IntN(20) == 0:
			errs[i] = sender.Later(errors.New("busy"), time.Second)
		case n > d.last[it.Key]+1:
			d.t.Errorf("key %s: %d after %d", it.Key, n, d.last[it.Key])
		default:
			d.last[it.Key] = max(d.last[it.Key], n)
		}
	}
	return errs
}

// operate does one thing that an operator may do.
func operate(ctx context.Context, b *outbox.Outbox) error {
	switch rand.IntN(7) {
	case 0:
		return b.Pause(ctx, sender.Pause{Until: time.Now().Add(time.Duration(1+rand.IntN(800)) * time.Millisecond)})
	case 1:
		return b.Resume(ctx)
	case 2:
		return b.ClearThrottle(ctx)
	case 3:
		return b.SetConcurrency(1 + rand.IntN(6))
	case 4:
		p, err := b.List(ctx, sender.Query{State: sender.StateRetrying})
		for i := 0; i < len(p.Items) && err == nil; i++ {
			_, err = b.RunNow(ctx, p.Items[i].Item)
		}
		return err
	case 5:
		_, err := b.List(ctx, sender.Query{State: sender.StateReady, Limit: 1 + rand.IntN(5), Newest: rand.IntN(2) == 0})
		return err
	}
	b.Observe(func(sender.Outcome) {})()
	return nil
}

// Whatever operators do to two lanes at once, one of which is closed and opened again and again: every
// event arrives, in the order of its key, and the limit that the lanes share holds.
func TestOperatorsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit, events, keys = 20, 60, 6
		ctx := t.Context()
		d := &moody{t: t, flying: map[string]bool{}, last: map[string]int{}}
		o := &outbox.Options{Limiter: limiter.Within(limit, time.Second), Sender: sender.Options{Concurrency: 4}}
		b := open(t, newPath(t), d, o)
		var mail atomic.Pointer[outbox.Outbox]
		reopen := func() {
			c, err := b.Lane("mail", d, o)
			if err != nil {
				t.Error(err)
				return
			}
			mail.Store(c)
		}
		reopen()
		pick := func(n int) *outbox.Outbox { return [2]*outbox.Outbox{b, mail.Load()}[n%2] }
		var puts, operators sync.WaitGroup
		for k := range keys {
			puts.Go(func() {
				for i := 1; i <= events && !t.Failed(); {
					_, err := pick(k).Put(ctx, outbox.Event{Key: fmt.Sprint(k), Payload: fmt.Append(nil, i)})
					if err == nil {
						i++
					} else if !errors.Is(err, outbox.ErrClosed) {
						t.Error(err)
						return
					}
					time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
				}
			})
		}
		stop, cancel := context.WithCancel(ctx)
		for range 2 {
			operators.Go(func() {
				for ; stop.Err() == nil; time.Sleep(time.Duration(1+rand.IntN(400)) * time.Millisecond) {
					if err := operate(ctx, pick(rand.IntN(2))); err != nil && !errors.Is(err, outbox.ErrClosed) {
						t.Error(err)
					}
				}
			})
		}
		operators.Go(func() {
			for ; stop.Err() == nil && !t.Failed(); time.Sleep(time.Duration(1+rand.IntN(3000)) * time.Millisecond) {
				if err := mail.Load().Close(); err != nil {
					t.Error(err)
				}
				reopen()
			}
		})
		puts.Wait()
		time.Sleep(5 * time.Second)
		cancel()
		operators.Wait()
		for n := range 2 {
			if err := errors.Join(pick(n).Resume(ctx), pick(n).Drain(ctx), pick(n).Check(ctx)); err != nil {
				t.Error(err)
			}
		}
		for k := range keys {
			if got := d.last[fmt.Sprint(k)]; got != events {
				t.Errorf("key %d: %d of %d events arrived", k, got, events)
			}
		}
		for i := limit; i < len(d.starts); i++ {
			if in := d.starts[i].Sub(d.starts[i-limit]); in < time.Second {
				t.Errorf("%d requests in %v, %d a second are allowed", limit+1, in, limit)
			}
		}
	})
}
