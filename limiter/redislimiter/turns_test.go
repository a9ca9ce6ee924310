package redislimiter_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
)

// What an outbox looks for in its limiter.
var (
	_ sender.Limiter = (*redislimiter.Limiter)(nil)
	_ sender.Pauser  = (*redislimiter.Limiter)(nil)

	_ interface{ Check() error }                   = (*redislimiter.Limiter)(nil)
	_ interface{ Mode() string }                   = (*redislimiter.Limiter)(nil)
	_ interface{ WaitLast(context.Context) error } = (*redislimiter.Limiter)(nil)
)

// TestWaitLast has four goroutines that start all they can, so that one always waits, and one that gives
// way: it gets one start in about sixteen, and all of them when it is alone.
func TestWaitLast(t *testing.T) {
	t.Parallel()
	l := open(t, newServer(t).client(), 100, time.Second, nil)
	for range 3 {
		if err := l.WaitLast(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	j := &judge{}
	stop := fleet(t, j, l, l) // two goroutines each
	await(t, "the first start", func() bool { return j.count() > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	last := make(chan int)
	go func() {
		n := 0
		for l.WaitLast(ctx) == nil {
			n++
		}
		last <- n
	}()
	await(t, "starts", func() bool { return j.count() >= 100 })
	cancel()
	n := <-last
	stop()
	// Each fifteen others, and those that have a turn before it, up to four.
	if others := j.count(); n < others/20-1 || n > others/15+1 {
		t.Errorf("%d starts in the last place beside %d others, about %d expected", n, others, others/16)
	}
}

// TestInstantIsHandedOn ends a call that has an instant reserved: a Wait by its context, and a WaitLast
// by a Wait that overtakes it. The next Wait takes the instant, and asks for no other.
func TestInstantIsHandedOn(t *testing.T) {
	for name, f := range map[string]struct {
		wait   func(*redislimiter.Limiter, context.Context) error
		before bool // the context ends before the next Wait, not after
	}{
		"ended":     {(*redislimiter.Limiter).Wait, true},
		"overtaken": {(*redislimiter.Limiter).WaitLast, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			c := s.client()
			// With this jitter an instant is of use for a second after it has passed.
			l := open(t, c, 1, 500*time.Millisecond, &redislimiter.Options{Jitter: 2 * time.Second})
			if err := l.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			reserved := func() string { return do(t, c, "HGET", "outbox:{test}", "n") }
			try := func() (handedOn bool) {
				n := reserved()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- f.wait(l, ctx) }()
				await(t, "a reserved instant", func() bool { return reserved() != n })
				n = reserved()
				if f.before {
					cancel()
					if <-ended == nil {
						return false
					}
				}
				if err := l.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if reserved() != n {
					return false
				}
				cancel()
				return f.before || <-ended != nil
			}
			// A machine that stalls for half a second lets the first call have its instant.
			for range 3 {
				if try() {
					return
				}
			}
			t.Error("the instant was not handed on")
		})
	}
}

// A deaf is a limiter that allows everything, and does not hear of pauses.
type deaf struct{ limiter.Limiter }

func (*deaf) Pause(time.Time)            {}
func (*deaf) Wait(context.Context) error { return nil }

// TestPauseHoldsLocal stops Redis during a pause: Local starts nothing before its end either.
func TestPauseHoldsLocal(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	l := open(t, s.client(), 10, 100*time.Millisecond, &redislimiter.Options{Local: &deaf{}})
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(1500 * time.Millisecond)
	l.Pause(until)
	if got := l.Paused(); got.Sub(until).Abs() > time.Millisecond {
		t.Errorf("paused until %v, %v expected", got, until)
	}
	await(t, "local", func() bool { return l.Mode() == redislimiter.Local })
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(until); left > 0 {
		t.Errorf("Local started a request %v before the end of the pause", left)
	}
	if got := l.Paused(); !got.IsZero() {
		t.Errorf("after the pause: paused until %v", got)
	}
}

// A stuck is a limiter that allows nothing.
type stuck struct {
	limiter.Limiter
	waits chan struct{} // gets one for each Wait
}

func (s *stuck) Wait(ctx context.Context) error {
	s.waits <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// TestCloseEndsLocal closes a Limiter whose Local allows nothing, and one that gives way.
func TestCloseEndsLocal(t *testing.T) {
	t.Parallel()
	local := &stuck{waits: make(chan struct{}, 1)}
	l := open(t, dial(t, nobody), 1, time.Second, &redislimiter.Options{Local: local})
	ended := make(chan error, 2)
	go func() { ended <- l.Wait(context.Background()) }()
	<-local.waits
	go func() { ended <- l.WaitLast(context.Background()) }()
	l.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, sender.ErrClosed) {
			t.Errorf("%v, ErrClosed expected", err)
		}
	}
	if err := l.WaitLast(t.Context()); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("after Close: %v, ErrClosed expected", err)
	}
}

// TestCheck knows a Limiter that cannot be used.
func TestCheck(t *testing.T) {
	t.Parallel()
	l := open(t, newServer(t).client(), 1, time.Second, nil)
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := l.Check(); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("after Close: %v, ErrClosed expected", err)
	}
	var missing *redislimiter.Limiter
	for _, l := range []*redislimiter.Limiter{missing, {}} {
		if err := l.Check(); err == nil {
			t.Error("nil, an error expected")
		}
	}
}

// TestSecrets gives a password to a Redis that refuses it, and to one that is not there: it is in no
// error and in no log.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-secret"
	s := newServer(t)
	do(t, s.client(), "ACL", "SETUSER", "app", "on", ">another", "~*", "&*", "+@all")
	options := func(addr string) *redis.Options {
		o, err := redis.ParseURL("redis://app:" + secret + "@" + addr + "/0")
		if err != nil {
			t.Fatal(err)
		}
		o.ContextTimeoutEnabled = true
		return o
	}
	var log lockedBuffer
	logged := &redislimiter.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}

	refused := redis.NewClient(options(s.addr))
	defer refused.Close()
	_, err := redislimiter.New(refused, "test", 1, time.Second, logged)
	if err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), secret) {
		t.Errorf("%v, WRONGPASS without the password expected", err)
	}
	gone := redis.NewClient(options(nobody))
	defer gone.Close()
	l, err := redislimiter.New(gone, "test", 1, time.Second, logged)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if cause := l.Status().Cause; cause == nil || strings.Contains(cause.Error(), secret) {
		t.Errorf("%v, a cause without the password expected", cause)
	}
	if text := log.String(); !strings.Contains(text, "Redis is away") || strings.Contains(text, secret) {
		t.Errorf("the log, which must not have the password:\n%s", text)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
