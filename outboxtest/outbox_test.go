package outboxtest_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// put puts an event of this kind and key.
func put(t testing.TB, b *outboxtest.Outbox, kind, key string) uuid.UUID {
	t.Helper()
	id, err := b.Put(context.Background(), outbox.Event{Kind: kind, Key: key, Payload: []byte(`{"plan":"basic"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func names(items []sender.Item) string {
	var all []string
	for _, it := range items {
		all = append(all, strings.TrimPrefix(it.Key+"/"+it.Kind, "/"))
	}
	return strings.Join(all, " ")
}

// Many put at the same time, while the test waits again and again.
func TestManyProducers(t *testing.T) {
	inAndOut(t, func(t *testing.T) {
		b := outboxtest.New(t, nil)
		var producers sync.WaitGroup
		for range 8 {
			producers.Go(func() {
				for i := range 25 {
					put(t, b, "k", strconv.Itoa(i%3))
				}
			})
		}
		got := 0
		for range 5 {
			got += len(b.Drain().Delivered)
		}
		producers.Wait()
		if got += len(b.Drain().Delivered); got != 200 {
			t.Errorf("the reports have %d delivered, want 200", got)
		}
		if n := len(b.Sent.Requests()); n != 200 {
			t.Errorf("%d requests, want 200", n)
		}
	})
}

// patient is a limiter that remembers its pause.
type patient struct {
	mu      sync.Mutex
	until   time.Time
	resumed int
}

func (p *patient) Wait(ctx context.Context) error {
	p.mu.Lock()
	until := p.until
	p.mu.Unlock()
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *patient) Pause(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = until
}

func (p *patient) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
	p.resumed++
}

func (p *patient) Slow()         {}
func (p *patient) Rate() float64 { return 0 }

// After a crash the pause is the one in the file: a limiter that was told of it is a new process's.
func TestPauseIsInTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := &patient{}
		b := outboxtest.New(t, &outboxtest.Options{Transport: outboxtest.NewTransport(outboxtest.Throttle(10 * time.Hour)), Outbox: outbox.Options{Limiter: limiter}})
		put(t, b, "k", "")
		time.Sleep(time.Hour)
		b.Crash()
		if r := b.Drain(); r.Took < 9*time.Hour || limiter.resumed != 1 {
			t.Errorf("it went on after %v, the limiter was resumed %d times", r.Took, limiter.resumed)
		}
	})
}

// A process that was started again has a limiter of its own, which knows the pause in the file alone.
func TestEachProcessHasItsLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made []*patient
		b := outboxtest.New(t, &outboxtest.Options{
			Transport: outboxtest.NewTransport(outboxtest.Throttle(10 * time.Hour)),
			Limiter: func() sender.Limiter {
				made = append(made, &patient{})
				return made[len(made)-1]
			},
		})
		put(t, b, "k", "")
		time.Sleep(time.Hour)
		b.Crash()
		b.Restart()
		if r := b.Drain(); r.Took < 9*time.Hour {
			t.Errorf("it went on after %v", r.Took)
		}
		if len(made) != 3 {
			t.Fatalf("%d limiters for 3 processes", len(made))
		}
		for i, p := range made {
			if p.until.IsZero() || p.resumed != 0 {
				t.Errorf("the limiter of process %d: paused until %v, resumed %d times", i+1, p.until, p.resumed)
			}
		}
	})
}
