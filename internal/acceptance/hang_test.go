package acceptance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/outboxtest"
	"github.com/seed8107221f/outbox/sender"
)

// deaf is a transport whose calls ignore their context until it is told to answer.
type deaf struct{ answer chan struct{} }

func (d deaf) Send(context.Context, sender.Item) error {
	<-d.answer
	return nil
}

// endings are the ways to end an outbox, and how long they may take whatever hangs.
var endings = []struct {
	name   string
	end    func(*outbox.Outbox) error
	within time.Duration
	flush  bool
}{
	{"Close", (*outbox.Outbox).Close, 6 * time.Second, false},
	{"Shutdown", func(b *outbox.Outbox) error {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		return b.Shutdown(ctx)
	}, 4 * time.Second, true},
	{"Shutdown without time", func(b *outbox.Outbox) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return b.Shutdown(ctx)
	}, time.Second, true},
}

func TestTransportThatHangsKeepsNothingOpen(t *testing.T) {
	t.Parallel()
	for _, c := range endings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := newPath(t)
				d := deaf{make(chan struct{})}
				defer close(d.answer)
				b := open(t, path, d, nil)
				put(t, b, "track", "", "one")
				synctest.Wait()
				began := time.Now()
				err := c.end(b)
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %v, at most %v promised", took, c.within)
				}
				if c.flush != errors.Is(err, outbox.ErrPending) || !c.flush && err != nil {
					t.Errorf("%v; ErrPending expected of a Shutdown, nil of a Close", err)
				}
				again := open(t, path, nil, nil)
				if got := payloads(t, again); !slices.Equal(got, []string{"one"}) {
					t.Errorf("on disk are %q, want what was in flight", got)
				}
			})
		})
	}
}

func TestDiskThatHangsDoesNotHangTheCaller(t *testing.T) {
	t.Parallel()
	for _, c := range endings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := outboxtest.New(t, &outboxtest.Options{Transport: outboxtest.NewTransport(outboxtest.Slow(time.Second, outboxtest.Accept()))})
				put(t, b.Outbox, "track", "", "one")
				release := b.HangCommits() // the answer cannot be recorded
				time.Sleep(2 * time.Second)
				began := time.Now()
				if err := c.end(b.Outbox); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Errorf("%v, want the error of the context", err)
				}
				if took := time.Since(began); took > c.within {
					t.Errorf("it took %v, at most %v promised", took, c.within)
				}
				release()
				synctest.Wait() // what hung ends by itself
				time.Sleep(time.Second)
				if s := b.Stats(); s.Delivered != 1 {
					t.Errorf("the answer was not recorded: %+v", s)
				}
			})
		})
	}
}

func TestCloseRecordsAnAnswerOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := newPath(t)
		b := open(t, path, sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
			<-ctx.Done()
			time.Sleep(100 * time.Millisecond)
			return nil
		}), nil)
		put(t, b, "track", "", "one")
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if s := open(t, path, nil, nil).Stats(); s.Delivered != 1 || s.Pending != 0 {
			t.Errorf("it was accepted, and would be sent again: %+v", s)
		}
	})
}
