package redislimiter_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
)

// TestRefusals has Redis refuse calls for reasons that pass: nothing starts, the cause is told, and the
// fleet goes on when the reason is gone. A process that starts then is not turned away.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, f := range []struct{ name, word, begin, end string }{
		{"out of memory", "OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"},
		{"too few replicas", "NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
		{"a replica", "READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"},
		{"too many clients", "", "CONFIG SET maxclients 1", "CONFIG SET maxclients 100"},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			admin := s.client()
			order := func(line string) {
				var args []any
				for _, a := range strings.Fields(line) {
					args = append(args, a)
				}
				do(t, admin, args...)
			}
			away := func(l *redislimiter.Limiter) bool {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				_ = l.Wait(ctx)
				m := l.Status()
				return m.Mode == redislimiter.Away && strings.Contains(m.Cause.Error(), f.word)
			}
			p := newProxy(t, s.addr)
			old := open(t, dial(t, p.addr), 10, 100*time.Millisecond, nil)
			if err := old.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			order(f.begin)
			p.cut() // else it keeps the connection that it has
			await(t, "away", func() bool { return away(old) })
			all := []*redislimiter.Limiter{old}
			for range 5 { // what the client sees of a connection that is turned away is chance
				young := open(t, s.client(), 10, 100*time.Millisecond, nil)
				if !away(young) {
					t.Errorf("status %+v, away because of %s expected", young.Status(), f.word)
				}
				all = append(all, young)
			}
			order(f.end)
			for _, l := range all {
				if err := l.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestRightsLost takes the rights of a user away while its process runs, and gives them back.
func TestRightsLost(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	admin := s.client()
	do(t, admin, "ACL", "SETUSER", "app", "on", ">app", "~*", "&*", "+@all")
	c := redis.NewClient(&redis.Options{Addr: s.addr, Username: "app", Password: "app", ContextTimeoutEnabled: true})
	t.Cleanup(func() { c.Close() })
	l := open(t, c, 10, 100*time.Millisecond, nil)
	for _, f := range []struct {
		word   string
		begin  []any
		revoke []any
	}{
		{"NOPERM", []any{"-evalsha", "-eval"}, []any{"+@all"}},
		{"NOPERM", []any{"resetkeys"}, []any{"~*"}},
		{"WRONGPASS", []any{"off"}, []any{"on"}},
	} {
		do(t, admin, append([]any{"ACL", "SETUSER", "app"}, f.begin...)...)
		if f.word == "WRONGPASS" {
			do(t, admin, "CLIENT", "KILL", "USER", "app")
		}
		await(t, "away", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_ = l.Wait(ctx)
			m := l.Status()
			return m.Mode == redislimiter.Away && strings.Contains(m.Cause.Error(), f.word)
		})
		do(t, admin, append([]any{"ACL", "SETUSER", "app"}, f.revoke...)...)
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScriptFlush empties the cache of scripts under a fleet, which notices nothing.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	s, j := newServer(t), &judge{}
	var log lockedBuffer
	l := open(t, s.client(), 50, time.Second, &redislimiter.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: time.Minute})
	fleet(t, j, l)
	for range 5 {
		n := j.count()
		await(t, "starts", func() bool { return j.count() >= n+10 })
		do(t, s.client(), "SCRIPT", "FLUSH")
	}
	if strings.Contains(log.String(), "away") {
		t.Error(log.String())
	}
	j.requireWithin(t, 50, time.Second)
}

// TestNeverEarly delays requests on their way to Redis and replies on their way back. No request starts
// before its instant, which is by the clock of this machine too, and a reply that took too long starts
// none.
func TestNeverEarly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client()
	p := newProxy(t, s.addr)
	l := open(t, dial(t, p.addr), 5, 200*time.Millisecond, nil)
	p.delayRequests(30 * time.Millisecond)
	for range 20 {
		if err := l.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMicro()
		n := do(t, c, "HGET", "outbox:{test}", "n") // nobody else waits, so the latest instant is the start's
		instant, err := strconv.ParseInt(do(t, c, "HGET", "outbox:{test}", n), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if early := instant - now; early > 0 {
			t.Errorf("a request started %d us before its instant", early)
		}
	}
	p.delay(60 * time.Millisecond) // more than half of the jitter in sum
	before := do(t, c, "HGET", "outbox:{test}", "n")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, no start after a reply that came too late expected", err)
	}
	if do(t, c, "HGET", "outbox:{test}", "n") == before {
		t.Error("Redis reserved nothing, so the test shows nothing")
	}
}

// TestManyWaiters ends thousands of calls by their context and by Close, and looks for goroutines that
// are left.
func TestManyWaiters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	// Nothing starts within this test.
	l := open(t, s.client(), 1, time.Minute, nil)
	ctx, cancel := context.WithCancel(t.Context())
	const each = 3000
	var ended, closed sync.WaitGroup
	for i := range each {
		wait := l.Wait
		if i%3 == 0 {
			wait = l.WaitLast
		}
		ended.Go(func() {
			if err := wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, a cancellation expected", err)
			}
		})
		closed.Go(func() {
			if err := wait(context.Background()); !errors.Is(err, sender.ErrClosed) {
				t.Errorf("%v, ErrClosed expected", err)
			}
		})
	}
	l.Pause(time.Now().Add(time.Hour))
	cancel()
	ended.Wait()
	l.Resume()
	l.Close()
	closed.Wait()
}

// TestCloseLeavesNothing closes limiters of a Redis that answers, that does not, and that is not there,
// while calls wait and a pause is told. No goroutine is left, and nothing is logged of the client that
// is closed next.
func TestCloseLeavesNothing(t *testing.T) {
	for name, f := range map[string]func(*server){
		"answers": func(*server) {},
		"stopped": func(s *server) { _ = s.cmd.Process.Signal(syscall.SIGSTOP) },
		"gone":    func(s *server) { s.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			c := redis.NewClient(&redis.Options{Addr: s.addr, ContextTimeoutEnabled: true, MaxRetries: -1})
			var log lockedBuffer
			o := &redislimiter.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: 100 * time.Millisecond}
			l := open(t, c, 10, time.Second, o)
			f(s)
			l.Pause(time.Now().Add(50 * time.Millisecond))
			var ended sync.WaitGroup
			for range 20 {
				ended.Go(func() { _ = l.Wait(context.Background()) })
			}
			if name != "answers" {
				await(t, "away", func() bool { return l.Mode() == redislimiter.Away })
			}
			began := time.Now()
			l.Close()
			t.Logf("Close took %v", time.Since(began))
			c.Close()
			ended.Wait()
			if strings.Contains(log.String(), "closed") {
				t.Errorf("the log: %s", log.String())
			}
			await(t, "the end of all goroutines", func() bool {
				var b strings.Builder
				_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
				return !strings.Contains(b.String(), "redislimiter.(*Limiter)") && !strings.Contains(b.String(), "redis/v9.(*channel)")
			})
		})
	}
}
