package redislimiter_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/limiter/redislimiter"
	"github.com/seed8107221f/outbox/sender"
)

// A judge counts the requests of a fleet as a destination would. Each is on its way for up to 20 ms,
// and is counted at the moment that its sender started it plus that time, so that a machine which
// stalls between the two says nothing about the limiter. The jitter allows 50 ms: the rest is for a
// machine that stalls between the end of Wait and that moment.
type judge struct {
	mu       sync.Mutex
	arrivals []time.Time
	by       map[int]int // arrivals of each instance
}

func (j *judge) arrive(instance int) {
	at := time.Now().Add(rand.N(20 * time.Millisecond))
	j.mu.Lock()
	defer j.mu.Unlock()
	j.arrivals = append(j.arrivals, at)
	if j.by == nil {
		j.by = make(map[int]int)
	}
	j.by[instance]++
}

func (j *judge) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.arrivals)
}

// fullest returns the most arrivals in any rolling window.
func (j *judge) fullest(window time.Duration) (most int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	slices.SortFunc(j.arrivals, time.Time.Compare)
	first := 0
	for i, at := range j.arrivals {
		for at.Sub(j.arrivals[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// between counts the arrivals from a to b.
func (j *judge) between(a, b time.Time) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, at := range j.arrivals {
		if !at.Before(a) && at.Before(b) {
			n++
		}
	}
	return n
}

func (j *judge) requireWithin(t *testing.T, limit int, window time.Duration) {
	t.Helper()
	if got := j.fullest(window); got > limit {
		t.Errorf("%d requests arrived within %v, %d allowed", got, window, limit)
	}
}

func open(t testing.TB, c redis.UniversalClient, limit int, window time.Duration, o *redislimiter.Options) *redislimiter.Limiter {
	t.Helper()
	if o == nil {
		o = &redislimiter.Options{}
	}
	if o.Logger == nil {
		o.Logger = quietLogger
	}
	l, err := redislimiter.New(c, "test", limit, window, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// fleet lets each limiter start all it can, until the test ends or stop is called.
func fleet(t *testing.T, j *judge, ls ...*redislimiter.Limiter) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i, l := range ls {
		for range 2 {
			wg.Go(func() {
				for l.Wait(ctx) == nil {
					j.arrive(i)
				}
			})
		}
	}
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func instances(t *testing.T, n int, s *server, limit int, window time.Duration, o *redislimiter.Options) (ls []*redislimiter.Limiter) {
	for range n {
		ls = append(ls, open(t, s.client(), limit, window, o))
	}
	return ls
}

// TestFleet has eight instances send all they can. Together they reach what the limit yields, none
// is refused, and none gets much more than another.
func TestFleet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit  int
		window time.Duration
		starts int
	}{{100, time.Second, 400}, {1000, time.Second, 4000}} {
		t.Run(strconv.Itoa(c.limit), func(t *testing.T) {
			t.Parallel()
			j := &judge{}
			stop := fleet(t, j, instances(t, 8, newServer(t), c.limit, c.window, nil)...)
			await(t, "the first starts", func() bool { return j.count() >= c.limit })
			began, had := time.Now(), j.count()
			await(t, "all starts", func() bool { return j.count() >= had+c.starts })
			took := time.Since(began)
			stop()
			j.requireWithin(t, c.limit, c.window)
			reached := float64(c.starts) / took.Seconds() / float64(c.limit)
			least, most := j.count(), 0
			for i := range 8 {
				least, most = min(least, j.by[i]), max(most, j.by[i])
			}
			t.Logf("limit %d in %v: reached %.3f of it, %d in the fullest window, %d to %d starts an instance",
				c.limit, c.window, reached, j.fullest(c.window), least, most)
		})
	}
}

// TestOneInTenSeconds needs no more than the log: four instances share one start in ten seconds.
func TestOneInTenSeconds(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute")
	}
	t.Parallel()
	j := &judge{}
	stop := fleet(t, j, instances(t, 4, newServer(t), 1, 10*time.Second, nil)...)
	await(t, "the first start", func() bool { return j.count() >= 1 })
	await(t, "the second start", func() bool { return j.count() >= 2 })
	await(t, "the third start", func() bool { return j.count() >= 3 })
	stop()
	j.requireWithin(t, 1, 10*time.Second)
}

// A counter counts the calls of the script that a client makes.
type counter struct{ calls, placed atomic.Int64 }

func (*counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (*counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); cmd.Name() == "evalsha" {
			c.calls.Add(1)
			if slices.Contains(args, any("place")) {
				c.placed.Add(1)
			}
		}
		return next(ctx, cmd)
	}
}

// TestLine has forty instances that want all they can get under a limit of twenty: each has its turn,
// and none asks much more than twice for a start.
func TestLine(t *testing.T) {
	t.Parallel()
	s, j, n := newServer(t), &judge{}, &counter{}
	var ls []*redislimiter.Limiter
	for range 40 {
		c := s.client()
		c.AddHook(n)
		ls = append(ls, open(t, c, 20, time.Second, nil))
	}
	stop := fleet(t, j, ls...)
	await(t, "all starts", func() bool { return j.count() >= 160 })
	stop()
	j.requireWithin(t, 20, time.Second)
	least, most := j.count(), 0
	for i := range ls {
		least, most = min(least, j.by[i]), max(most, j.by[i])
	}
	calls, placed := int(n.calls.Load()), int(n.placed.Load())
	t.Logf("%d starts of 40 instances, %d to %d each; %d calls, %d from a place in line", j.count(), least, most, calls, placed)
	if mean := j.count() / len(ls); least < mean/2 || most > 2*mean {
		t.Errorf("%d to %d starts an instance, about %d expected", least, most, mean)
	}
	if most := 3*j.count() + 3*len(ls); calls > most || placed < j.count()/2 {
		t.Errorf("%d calls, at most %d expected, and half of the starts from a place", calls, most)
	}
}

// TestForgotten restarts the server without its data, and empties it: nothing starts until all that
// was forgotten has left the window.
func TestForgotten(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(*server){
		"restart": func(s *server) { s.kill(); s.start() },
		"flush":   func(s *server) { do(s.t, s.client(), "FLUSHALL") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, j := newServer(t), &judge{}
			ls := instances(t, 4, s, 50, time.Second, nil)
			fleet(t, j, ls...)
			for range 2 {
				n := j.count()
				await(t, "a full window", func() bool { return j.count() >= n+60 })
				forget(s)
			}
			await(t, "quiet", func() bool { return ls[0].Mode() == redislimiter.Quiet })
			n := j.count()
			await(t, "starts after the quiet time", func() bool { return j.count() >= n+60 })
			if m := ls[0].Status(); m.Mode != redislimiter.Shared || m.Cause != nil {
				t.Errorf("status %+v, %q expected", m, redislimiter.Shared)
			}
			j.requireWithin(t, 50, time.Second)
		})
	}
}

// TestStopped stops the server as a debugger would: nothing starts meanwhile, and Local does if
// there is one, within its own limit.
func TestStopped(t *testing.T) {
	t.Parallel()
	s, j, k := newServer(t), &judge{}, &judge{}
	alone := open(t, s.client(), 40, time.Second, nil)
	local := open(t, s.client(), 40, time.Second, &redislimiter.Options{Local: limiter.Within(10, time.Second)})
	fleet(t, j, alone)
	fleet(t, k, local)
	await(t, "starts", func() bool { return j.count() > 10 && k.count() > 10 })
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "away", func() bool {
		return alone.Mode() == redislimiter.Away && local.Mode() == redislimiter.Local
	})
	from, n := time.Now(), k.count()
	await(t, "local starts", func() bool { return k.count() >= n+12 })
	if got := j.between(from.Add(60*time.Millisecond), time.Now()); got > 0 {
		t.Errorf("%d starts while Redis was away, 0 expected", got)
	}
	if alone.Status().Cause == nil {
		t.Error("away without a cause")
	}
	if got := local.Rate(); got > 10 {
		t.Errorf("the rate is %v while Local paces, at most 10 expected", got)
	}
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	n = j.count()
	await(t, "starts again", func() bool { return j.count() > n+10 && local.Mode() == redislimiter.Shared })
	j.requireWithin(t, 40, time.Second)
}

// TestPromoted fails over to a replica, whose data may lag behind.
func TestPromoted(t *testing.T) {
	t.Parallel()
	master := newServer(t)
	replica := newServer(t)
	host, port, _ := net.SplitHostPort(master.addr)
	do(t, replica.client(), "REPLICAOF", host, port)
	info := func(section string) string { return do(t, replica.client(), "INFO", section) }
	await(t, "the replica", func() bool { return strings.Contains(info("replication"), "master_link_status:up") })

	p := newProxy(t, master.addr)
	j := &judge{}
	ls := []*redislimiter.Limiter{open(t, dial(t, p.addr), 50, time.Second, nil), open(t, dial(t, p.addr), 50, time.Second, nil)}
	fleet(t, j, ls...)
	await(t, "a full window", func() bool { return j.count() > 60 })
	master.kill()
	do(t, replica.client(), "REPLICAOF", "NO", "ONE")
	p.to(replica.addr)
	n := j.count()
	await(t, "starts from the replica", func() bool { return j.count() > n+60 })
	j.requireWithin(t, 50, time.Second)
}

// TestReadOnly asks a replica: it is away, with the answer as its cause, and recovers.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	do(t, s.client(), "REPLICAOF", "127.0.0.1", "1")
	l := open(t, s.client(), 10, 100*time.Millisecond, nil)
	if m := l.Status(); m.Mode != redislimiter.Away || m.Cause == nil || !strings.Contains(m.Cause.Error(), "READONLY") {
		t.Errorf("status %+v, away because of READONLY expected", m)
	}
	do(t, s.client(), "REPLICAOF", "NO", "ONE")
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestNetwork puts a proxy between the fleet and Redis that delays, cuts and swallows.
func TestNetwork(t *testing.T) {
	t.Parallel()
	s, j := newServer(t), &judge{}
	p := newProxy(t, s.addr)
	var ls []*redislimiter.Limiter
	for range 4 {
		ls = append(ls, open(t, dial(t, p.addr), 50, time.Second, nil))
	}
	fleet(t, j, ls...)
	for _, fault := range []func(){
		func() { p.delay(30 * time.Millisecond) }, // starts come late, within the jitter
		func() { p.cut() },
		func() { p.swallow(true); time.Sleep(600 * time.Millisecond); p.swallow(false); p.cut() },
		func() { p.delay(200 * time.Millisecond); time.Sleep(time.Second); p.delay(0) }, // too late: instants are lost
	} {
		n := j.count()
		await(t, "starts", func() bool { return j.count() > n+20 })
		fault()
	}
	n := j.count()
	await(t, "starts at last", func() bool { return j.count() > n+20 })
	j.requireWithin(t, 50, time.Second)
}

// TestPauseIsShared tells one instance of a 429: the other one starts nothing either, and both are
// slower afterwards.
func TestPauseIsShared(t *testing.T) {
	t.Parallel()
	s, j, k := newServer(t), &judge{}, &judge{}
	a, b := open(t, s.client(), 100, time.Second, nil), open(t, s.client(), 100, time.Second, nil)
	full := a.Rate()
	fleet(t, j, a)
	fleet(t, k, b)
	await(t, "starts", func() bool { return j.count() > 20 && k.count() > 20 })
	until := time.Now().Add(1500 * time.Millisecond)
	a.Slow()
	a.Slow() // the same episode
	a.Pause(until)
	told := time.Now()
	await(t, "the end of the pause", func() bool { return time.Now().After(until.Add(300 * time.Millisecond)) })
	if n := j.between(told.Add(50*time.Millisecond), until); n > 0 {
		t.Errorf("the instance that was told started %d requests in the pause, 0 expected", n)
	}
	// The other hears of it within the time of a call.
	if n := k.between(told.Add(300*time.Millisecond), until); n > 0 {
		t.Errorf("the other instance started %d requests in the pause, 0 expected", n)
	}
	for _, l := range []*redislimiter.Limiter{a, b} {
		if r := l.Rate(); r > 0.6*full || r < 0.4*full {
			t.Errorf("the rate is %v after one refusal, about half of %v expected", r, full)
		}
	}
}

// TestNew refuses what cannot work, before anything waits for it.
func TestNew(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.client()
	plain := redis.NewClient(&redis.Options{Addr: s.addr})
	defer plain.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": s.addr}, ContextTimeoutEnabled: true})
	defer ring.Close()
	bad := &redislimiter.Options{Local: limiter.Within(0, time.Second)}
	do(t, c, "SET", "outbox:{taken}", "a string")
	do(t, c, "ACL", "SETUSER", "poor", "on", "nopass", "~*", "&*", "+@all", "-info")
	poor := redis.NewClient(&redis.Options{Addr: s.addr, Username: "poor", Password: "x", ContextTimeoutEnabled: true})
	defer poor.Close()
	for name, f := range map[string]func() (*redislimiter.Limiter, error){
		"no client":      func() (*redislimiter.Limiter, error) { return redislimiter.New(nil, "n", 1, time.Second, nil) },
		"no timeouts":    func() (*redislimiter.Limiter, error) { return redislimiter.New(plain, "n", 1, time.Second, nil) },
		"a ring":         func() (*redislimiter.Limiter, error) { return redislimiter.New(ring, "n", 1, time.Second, nil) },
		"a bad Local":    func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "n", 1, time.Second, bad) },
		"no name":        func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "", 1, time.Second, nil) },
		"a brace":        func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "a}b", 1, time.Second, nil) },
		"no limit":       func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "n", 0, time.Second, nil) },
		"no window":      func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "n", 1, 0, nil) },
		"a long window":  func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "n", 1, time.Hour, nil) },
		"another's key":  func() (*redislimiter.Limiter, error) { return redislimiter.New(c, "taken", 1, time.Second, nil) },
		"INFO forbidden": func() (*redislimiter.Limiter, error) { return redislimiter.New(poor, "n", 1, time.Second, nil) },
	} {
		if l, err := f(); err == nil {
			l.Close()
			t.Errorf("%s: nil, an error expected", name)
		}
	}
	l, err := redislimiter.New(poor, "n", 1, 100*time.Millisecond, &redislimiter.Options{WithoutRunID: true, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWaitEnds ends Wait by its context and by Close, also while Redis is away.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	l := open(t, dial(t, nobody), 1, time.Second, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, a deadline expected", err)
	}
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- l.Wait(context.Background()) }()
	}
	l.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, sender.ErrClosed) {
			t.Errorf("%v, ErrClosed expected", err)
		}
	}
	if err := l.Wait(t.Context()); !errors.Is(err, sender.ErrClosed) {
		t.Errorf("after Close: %v, ErrClosed expected", err)
	}
}

// TestProcesses has fifty processes share ten starts a second, while they are killed and started.
func TestProcesses(t *testing.T) {
	if os.Getenv("REDISLIMITER_CHILD") != "" {
		child(t)
		return
	}
	if testing.Short() {
		t.Skip("fifty processes")
	}
	t.Parallel()
	s := newServer(t)
	j := &judge{}
	receiver, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	go func() {
		for {
			c, err := receiver.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 1); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					j.arrive(0)
				}
			}()
		}
	}()
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestProcesses$")
		cmd.Env = append(os.Environ(), "REDISLIMITER_CHILD="+s.addr+" "+receiver.Addr().String())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	var all []*exec.Cmd
	for range 50 {
		all = append(all, start())
	}
	for i := 0; j.count() < 60; i++ {
		time.Sleep(200 * time.Millisecond)
		at := rand.N(len(all))
		_ = all[at].Process.Kill()
		_ = all[at].Wait()
		all[at] = start()
	}
	for _, cmd := range all {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	j.requireWithin(t, 10, time.Second)
}

func child(t *testing.T) {
	var redisAddr, to string
	for i, r := range os.Getenv("REDISLIMITER_CHILD") {
		if r == ' ' {
			redisAddr, to = os.Getenv("REDISLIMITER_CHILD")[:i], os.Getenv("REDISLIMITER_CHILD")[i+1:]
		}
	}
	conn, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, dial(t, redisAddr), 10, time.Second, nil)
	for l.Wait(context.Background()) == nil {
		if _, err := conn.Write([]byte{1}); err != nil {
			return
		}
	}
}
