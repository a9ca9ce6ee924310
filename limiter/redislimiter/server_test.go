package redislimiter_test

import (
	"bytes"
	"context"
	"flag"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed8107221f/outbox/limiter/redislimiter"
)

// A server is a redis-server of the test.
type server struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// newServer starts a redis-server that keeps nothing. Without one on this machine the test is
// skipped, except with OUTBOX_REDIS=1, where it fails.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("OUTBOX_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s := &server{t: t, addr: freeAddr(t), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// nobody is an address where nobody listens, nor ever will.
const nobody = "127.0.0.1:1"

var ports atomic.Uint32 // that freeAddr has tried

// freeAddr returns an address for a server that may be away for a while. Its port is below those
// that the system gives to connections (RFC 6335 section 6: from 49152 on; Linux: from 32768 on),
// so that nobody else gets it.
func freeAddr(t testing.TB) string {
	for range 1000 {
		port := 10_000 + (uint32(os.Getpid())*100+ports.Add(1))%20_000
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	args := append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", s.t.TempDir()}, s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	c := s.client()
	for ctx := s.t.Context(); ; time.Sleep(5 * time.Millisecond) {
		err := c.Ping(ctx).Err()
		if err == nil {
			return
		}
		if s.cmd.ProcessState != nil || ctx.Err() != nil {
			s.t.Fatalf("redis-server: %v\n%s", err, s.out.String())
		}
	}
}

// kill ends the server as a crash would.
func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

func (s *server) client() *redis.Client { return dial(s.t, s.addr) }

// mute is a client whose user may do anything but use channels.
func (s *server) mute() *redis.Client {
	do(s.t, s.client(), "ACL", "SETUSER", "mute", "on", ">mute", "~*", "resetchannels", "+@all")
	c := redis.NewClient(&redis.Options{Addr: s.addr, Username: "mute", Password: "mute", ContextTimeoutEnabled: true, MaxRetries: -1})
	s.t.Cleanup(func() { c.Close() })
	return c
}

func dial(t testing.TB, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { c.Close() })
	return c
}

func do(t testing.TB, c *redis.Client, args ...any) string {
	t.Helper()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// TestMain lets tests run side by side on any machine: nearly all of them wait.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "16"); err != nil { // -parallel on the command line comes later
		panic(err)
	}
	os.Exit(m.Run())
}

func init() {
	redislimiter.RedisForTest = func(t testing.TB) *redis.Client { return newServer(t).client() }
}
