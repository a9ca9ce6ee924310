package sender_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// calls runs a Sender over one item, with a Timeout of 10s, and calls use with each context.
func calls(l *lane, run context.Context, use func(ctx context.Context)) {
	l.Helper()
	l.options.Timeout = 10 * time.Second
	s, err := sender.New(&l.Memory, sender.TransportFunc(func(ctx context.Context, _ sender.Item) error {
		use(ctx)
		return nil
	}), nil, &l.options)
	if err != nil {
		l.Fatal(err)
	}
	l.put("a")
	if err := s.Run(run); err != nil {
		l.Fatal(err)
	}
}

// The context of a call has the deadline of the call and the values of Run's context. It ends with
// the call, with its deadline, or with Run. When the transport first asks makes no difference.
func TestContextOfACall(t *testing.T) {
	type key struct{}
	for _, c := range []struct {
		name  string
		takes time.Duration
		early bool  // the transport also asks before that time has passed
		want  error // when that time has passed
	}{
		{"in time", time.Second, true, nil},
		{"in time, asked late", time.Second, false, nil},
		{"too late", 10 * time.Second, true, context.DeadlineExceeded},
		{"too late, asked late", 11 * time.Second, false, context.DeadlineExceeded},
		{"Run ends", time.Minute, true, context.Canceled},
		{"Run ends, asked late", time.Minute, false, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(l *lane) {
				run, stop := context.WithCancel(context.WithValue(l.Context(), key{}, "value"))
				defer stop()
				stopAt, endOfRun := time.Minute, time.Minute
				if errors.Is(c.want, context.Canceled) {
					stopAt, endOfRun = time.Second, 6*time.Second // calls are left five seconds
				}
				time.AfterFunc(stopAt, stop)
				var kept context.Context
				calls(l, run, func(ctx context.Context) {
					kept = ctx
					if d, ok := ctx.Deadline(); !ok || !d.Equal(l.start.Add(10*time.Second)) {
						t.Errorf("the deadline is %v, %v", d, ok)
					}
					if c.early && (ctx.Err() != nil || ctx.Value(key{}) != "value") {
						t.Errorf("at first: error %v, value %v", ctx.Err(), ctx.Value(key{}))
					}
					time.Sleep(min(c.takes, endOfRun))
					synctest.Wait()
					if err := ctx.Err(); err != c.want || context.Cause(ctx) != c.want {
						t.Errorf("the error is %v, the cause %v; want %v", err, context.Cause(ctx), c.want)
					}
					select {
					case <-ctx.Done():
						if c.want == nil {
							t.Error("it is done while the call lasts")
						}
					default:
						if c.want != nil {
							t.Error("it is not done")
						}
					}
				})
				<-kept.Done()
				want := c.want
				if want == nil {
					want = context.Canceled
				}
				if err := kept.Err(); err != want {
					t.Errorf("after the call the error is %v, want %v", err, want)
				}
			})
		})
	}
}

// A transport that first asks after the call finds a context that has ended.
func TestContextAfterTheCall(t *testing.T) {
	type key struct{}
	in(t, func(l *lane) {
		run, stop := context.WithCancel(context.WithValue(l.Context(), key{}, "value"))
		time.AfterFunc(time.Second, stop)
		var kept context.Context
		calls(l, run, func(ctx context.Context) { kept = ctx })
		select {
		case <-kept.Done():
		default:
			t.Error("it is not done")
		}
		if kept.Err() != context.Canceled || kept.Value(key{}) != "value" {
			t.Errorf("error %v, value %v", kept.Err(), kept.Value(key{}))
		}
	})
}

// Contexts that are made from the context of a call end with it, and need no goroutine.
func TestChildrenOfACall(t *testing.T) {
	in(t, func(l *lane) {
		run, stop := context.WithCancel(l.Context())
		time.AfterFunc(time.Second, stop)
		var child context.Context
		told := make(chan struct{})
		calls(l, run, func(ctx context.Context) {
			before := runtime.NumGoroutine()
			for range 100 {
				var cancel context.CancelFunc
				child, cancel = context.WithCancel(ctx)
				l.Cleanup(cancel)
			}
			context.AfterFunc(ctx, func() { close(told) })
			if n := runtime.NumGoroutine() - before; n > 50 { // the test runner starts and ends some
				t.Errorf("%d goroutines for 100 children", n)
			}
			if child.Err() != nil {
				t.Error(child.Err())
			}
		})
		<-told
		<-child.Done()
		if at := time.Since(l.start); at != time.Second { // the end of Run; the call returned at once
			t.Errorf("Run ended after %v", at)
		}
		if child.Err() != context.Canceled {
			t.Errorf("the child says %v", child.Err())
		}
	})
}
