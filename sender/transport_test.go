package sender_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/seed8107221f/outbox/sender"
)

// nilPanics is an error whose nil pointer panics when it is read.
type nilPanics struct{ text string }

func (e *nilPanics) Error() string { return e.text }

func (s slice) Error() string { return strings.Join(s, " ") }

// slice is an error that cannot be compared.
type slice []string

// A transport that misbehaves costs its items an attempt, and has no effect on other items.
func TestTransportMisbehaves(t *testing.T) {
	var nilError *nilPanics
	for name, misbehave := range map[string]func() error{
		"panic":            func() error { panic("secret payload") },
		"panic with error": func() error { panic(errors.New("secret payload")) },
		"panic with nil":   func() error { panic(nil) },
		"exit":             func() error { return play(context.Background(), "exit") },
		"nil error":        func() error { return nilError },
		"marked nil error": func() error { return sender.Throttled(nilError, time.Hour) },
		"slice":            func() error { return slice{"a", "b"} },
		"joined":           func() error { return errors.Join(slice{"a"}, slice{"b"}) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(l *lane) {
				l.options.Concurrency = 1
				l.options.Backoff = steady(10 * time.Second)
				l.options.MaxAttempts = 1
				var bad atomic.Int64
				transport := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
					if string(it.Payload) == "bad" {
						bad.Add(1)
						return misbehave()
					}
					return nil
				})
				s, err := sender.New(&l.Memory, transport, nil, &l.options)
				if err != nil {
					l.Fatal(err)
				}
				l.s = s
				l.put("bad good")
				l.begin()
				l.wait(time.Hour)
				l.ends("delivered 1, dead bad")
				if it := l.item("bad"); it.LastErr == "" || strings.Contains(it.LastErr, "secret") || bad.Load() != 1 {
					l.Fatalf("bad was sent %d times, LastErr is %q", bad.Load(), it.LastErr)
				}
			})
		})
	}
}

// Five in a row of errors that cannot be compared hold the lane, and nothing panics.
func TestHeldByErrorsThatCannotBeCompared(t *testing.T) {
	in(t, func(l *lane) {
		s, err := sender.New(&l.Memory, sender.TransportFunc(func(context.Context, sender.Item) error { return slice{"x"} }), nil, nil)
		if err != nil {
			l.Fatal(err)
		}
		l.s = s
		l.put("a b c d e f g h")
		l.begin()
		l.wait(time.Hour)
		if s.Status().Held == "" {
			l.Fatal("the lane is not held")
		}
	})
}

// A call that ignores its context is abandoned: it keeps its slot and its key, there are never more
// than Concurrency of them, and a late answer counts.
func TestAbandoned(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 3
		l.options.Timeout = 10 * time.Second
		l.answer("a/1", "1h+ok")
		l.answer("b", "2h+500")
		l.put("a/1 a/2 b c d")
		l.run()
		l.wait(11*time.Second - 1)
		if n := l.s.Status().Abandoned; n != 0 {
			l.Fatalf("%d calls are abandoned before their time", n)
		}
		l.wait(1)
		if st := l.s.Status(); st.Abandoned != 2 || st.Held != "" {
			l.Fatalf("Status is %+v; want two abandoned calls, and a lane that moves", st)
		}
		l.ends("delivered 2, pending a/1 a/2 b")
		l.answer("e", "3h+ok")
		l.put("e f")
		l.wait(time.Minute)
		st := l.s.Status()
		if st.Abandoned != 3 || !strings.Contains(st.Held, "3") || st.HeldSince.IsZero() {
			l.Fatalf("Status is %+v; want three abandoned calls, and no move", st)
		}
		l.ends("delivered 2, pending a/1 a/2 b e f")
		l.wait(time.Hour)
		l.ends("delivered 5, pending b e")
		if n := l.s.Status().Abandoned; n != 2 {
			l.Fatalf("%d calls are abandoned, want 2", n)
		}
		l.answer("b", "ok")
		l.wait(3 * time.Hour)
		l.ends("delivered 7")
		if _, most := l.inFlight(); most > 3 || l.s.Status().Abandoned != 0 {
			l.Fatalf("Status is %+v, at most %d requests were in flight", l.s.Status(), most)
		}
	})
}

// brokenTransport panics, or ends its goroutine.
func brokenTransport(how string) {
	if how == "panic" {
		panic("secret")
	}
	runtime.Goexit()
}

// The first panic of a transport is logged at ERROR with the place, the kind and the ID, and without
// what may be secret.
func TestBrokenTransportIsLogged(t *testing.T) {
	for _, how := range []string{"panic", "exit"} {
		in(t, func(l *lane) {
			l.askOver(sender.TransportFunc(func(context.Context, sender.Item) error {
				brokenTransport(how)
				return nil
			}))
			l.append(sender.Item{ID: uuid.New(), Kind: "mail", Payload: []byte("secret")})
			l.wait(time.Minute)
			l.put("secret secret")
			l.wait(time.Hour)
			if n := l.logged("level=ERROR"); n != 1 || l.logged("brokenTransport") < 1 || l.logged("transport_test.go:") < 1 || l.logged("kind=mail") != 1 || l.logged("id="+l.Pending()[0].ID.String()) != 1 {
				l.Errorf("%d lines at ERROR, want one with the place and the item:\n%s", n, l.logs.String())
			}
			if l.logged("secret") > 0 {
				l.Errorf("the log has the value of the panic, or a payload:\n%s", l.logs.String())
			}
		})
	}
}

// A probe that does not return has failed; others follow, and its late success opens the lane.
func TestAbandonedProbe(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 3
		l.options.Timeout = 10 * time.Second
		l.answer("a", "403 15s+ok")
		l.answer("b", "403")
		l.put("a")
		l.run()
		l.wait(5 * time.Second)
		l.put("b")
		l.wait(10 * time.Second)
		l.answer("b", "ok")
		l.wait(time.Second)
		// At 1s a is the probe; at 12s it has failed, the next is due at 14s; at 16s a succeeds.
		l.wants(`0s a 403
			1s a 15s+ok
			14s b 403
			16s b ok`)
		l.wait(time.Minute)
		l.ends("delivered 2")
	})
}

func TestByKind(t *testing.T) {
	in(t, func(l *lane) {
		kinds := map[string]sender.Transport{"mail": batching{l}, "nothing": nil, "hook": sender.TransportFunc(l.send)}
		transport := sender.ByKind(kinds)
		delete(kinds, "hook") // it is a copy
		s, err := sender.New(&l.Memory, transport, nil, &l.options)
		if err != nil {
			l.Fatal(err)
		}
		if _, ok := transport.(sender.BatchTransport); ok {
			l.Fatal("ByKind promises to send one by one")
		}
		l.s = s
		l.options.Logger = nil
		for _, kind := range []string{"hook", "new", "new", "nothing", "hook"} {
			l.append(sender.Item{ID: uuid.New(), Payload: []byte(kind), Kind: kind})
		}
		l.begin()
		l.wait(10 * time.Hour)
		l.ends("delivered 2, pending new new nothing")
		for _, it := range l.Pending() {
			if it.Attempts+it.Failures != 0 || !strings.Contains(it.LastErr, it.Kind) {
				l.Fatalf("an item of an unknown kind is %+v", it)
			}
			if wait := time.Until(it.Due); wait > time.Hour || wait < 0 {
				l.Fatalf("an item of an unknown kind waits %v, want an hour at most", wait)
			}
		}
	})
}

func TestUnknownKindIsLoggedOnce(t *testing.T) {
	in(t, func(l *lane) {
		l.options.Concurrency = 1
		l.make()
		s, err := sender.New(&l.Memory, sender.ByKind(nil), nil, &l.options)
		if err != nil {
			l.Fatal(err)
		}
		l.s = s
		for i := range 240 {
			l.append(sender.Item{ID: uuid.New(), Kind: fmt.Sprint("kind-", i/2, ".")})
		}
		l.begin()
		l.wait(10 * time.Hour)
		if n, m := l.logged("no transport for this kind"), l.logged("kind-7."); n != 100 || m != 1 {
			l.Fatalf("%d lines for 120 unknown kinds, %d for one of them; want 100 and 1", n, m)
		}
	})
}
