package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/sender/httpsend"
	"github.com/seed8107221f/outbox/store"
)

func init() {
	tasks["paced"], tasks["exhausted"] = paced, exhausted
}

// another starts the test binary as another process, which has ended when the test ends.
func another(t *testing.T, task, path, url string) (cmd *exec.Cmd, out *bufio.Scanner, end func()) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"="+task, childPath+"="+path, childURL+"="+url)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(stdout), func() { in.Close() }
}

// paced sends as fast as it may until its input ends, and prints when each request began and of
// which event it was.
func paced(path string) error {
	var n atomic.Int64
	b, err := outbox.Open(path, sender.TransportFunc(func(_ context.Context, it sender.Item) error {
		began := time.Now()
		if n.Add(1) == 40 {
			fmt.Println("told", time.Now().UnixNano())
			return sender.Throttled(errors.New("wait"), time.Second)
		}
		fmt.Println("sent", began.UnixNano(), it.ID)
		return nil
	}), &outbox.Options{Limiter: limiter.Within(30, 300*time.Millisecond), Sender: sender.Options{Concurrency: 20}})
	if err != nil {
		return err
	}
	es := make([]outbox.Event, 2000)
	for i := range es {
		es[i].Key = strconv.Itoa(i % 50)
	}
	if _, err := b.PutAll(context.Background(), es...); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return b.Close()
}

// A process that is stopped for longer than the window, and goes on, does not catch up: the window
// of the destination holds, and so does the pause that it ordered. Nothing is lost, nor sent twice.
func TestSuspendedProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("a campaign: not with -short")
	}
	t.Parallel()
	path := newPath(t)
	cmd, out, end := another(t, "paced", path, "")
	lines := make(chan []string)
	go func() {
		defer close(lines)
		for out.Scan() {
			lines <- strings.Fields(out.Text())
		}
	}()
	began := time.Now()
	runs, rests := 250*time.Millisecond, 350*time.Millisecond // a rest is longer than the window
	if campaign.Long() {
		runs, rests = 150*time.Millisecond, 800*time.Millisecond
	}
	stops := time.NewTicker(rests)
	defer stops.Stop()
	signals := time.After(5 * time.Second)
	if !campaign.Long() {
		signals = nil
	}
	var times []time.Time
	var told time.Time
	sent := make(map[string]bool)
	stopped := false
	signal := func(s syscall.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	for running := true; running; {
		select {
		case <-stops.C:
			if !campaign.Long() && !stopped && !told.IsZero() && len(sent) >= 60 || time.Since(began) > time.Minute {
				signals = time.After(0) // this was enough
			}
			if stopped = !stopped; stopped {
				signal(syscall.SIGSTOP)
				stops.Reset(rests)
			} else {
				signal(syscall.SIGCONT)
				stops.Reset(runs)
			}
		case <-signals:
			stops.Stop()
			signal(syscall.SIGCONT)
			end()
		case f, more := <-lines:
			if running = more; !more || len(f) < 2 || f[0] != "sent" && f[0] != "told" {
				continue
			}
			ns, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Unix(0, ns)
			times = append(times, at)
			switch {
			case f[0] == "told":
				told = at
			case sent[f[2]]:
				t.Errorf("%s was sent twice", f[2])
			default:
				sent[f[2]] = true
			}
			if early := at.Sub(told); !told.IsZero() && early > 100*time.Millisecond && early < time.Second {
				t.Errorf("%v after it was told to wait a second a request began", early)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if most := busiest(times, 300*time.Millisecond); most > 30 {
		t.Errorf("%d requests within 300ms, 30 allowed", most)
	}
	if len(sent) < 60 || told.IsZero() {
		t.Errorf("only %d requests were made, told to wait: %t", len(sent), !told.IsZero())
	}
	s := open(t, path, nil, nil).Stats()
	if s.Pending != 2000-len(sent) || s.Delivered != uint64(len(sent)) {
		t.Errorf("%d were sent of 2000: %+v", len(sent), s)
	}
}

// useUp opens files until no descriptor is left.
func useUp() (giveBack func(), err error) {
	limit := syscall.Rlimit{Cur: 64, Max: 64}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	var files []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if errors.Is(err, syscall.EMFILE) {
			return func() {
				for _, f := range files {
					f.Close()
				}
			}, nil
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
}

// exhausted uses up its descriptors while an outbox sends.
func exhausted(path string) error {
	client := httpsend.NewClient()
	var stored map[string]string
	d := &httpsend.Durable{Put: func(_ *http.Request, header map[string]string, _ []byte) (uuid.UUID, error) {
		stored = header
		return uuid.New(), nil
	}}
	if _, err := (&http.Client{Transport: d}).Post(os.Getenv(childURL), "", strings.NewReader("x")); err != nil {
		return err
	}
	b, err := outbox.Open(path, &httpsend.Transport{Client: client}, nil)
	if err != nil {
		return err
	}
	puts := func(n int) error {
		for range n {
			if _, err := b.Put(context.Background(), outbox.Event{Header: stored}); err != nil {
				return err
			}
		}
		return nil
	}
	until := func(what string, ok func(outbox.Stats) bool) error {
		for range 2000 {
			if ok(b.Stats()) {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		return fmt.Errorf("%s: %+v", what, b.Stats())
	}
	if err := errors.Join(puts(5), until("5 delivered", func(s outbox.Stats) bool { return s.Delivered == 5 })); err != nil {
		return err
	}
	client.CloseIdleConnections()
	giveBack, err := useUp()
	if err != nil {
		return err
	}
	if err := puts(20); err != nil {
		return fmt.Errorf("put without descriptors: %w", err)
	}
	if err := until("held", func(s outbox.Stats) bool { return strings.Contains(s.Held, "too many open files") }); err != nil {
		return err
	}
	for _, other := range []string{path, path + ".new"} {
		_, err := store.Open(other, &store.Options{LockTimeout: -1})
		if !errors.Is(err, syscall.EMFILE) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrFormat) {
			return fmt.Errorf("open %s without descriptors: %w", other, err)
		}
	}
	giveBack()
	if err := until("25 delivered", func(s outbox.Stats) bool { return s.Delivered == 25 && s.Held == "" }); err != nil {
		return err
	}
	entries, err := filepath.Glob(path + ".new*")
	if len(entries) > 0 || err != nil {
		return fmt.Errorf("left behind: %q, %w", entries, err)
	}
	return b.Close()
}

// A process without descriptors puts events all the same, says what it cannot do, and sends them
// once it has some again.
func TestWithoutDescriptors(t *testing.T) {
	if testing.Short() {
		t.Skip("processes, and seconds of real time: not with -short")
	}
	t.Parallel()
	var arrived atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	defer srv.Close()
	path := newPath(t)
	cmd, out, _ := another(t, "exhausted", path, srv.URL)
	for out.Scan() {
		t.Error(out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if n := arrived.Load(); n != 25 {
		t.Errorf("%d requests arrived, want 25", n)
	}
	sound(t, path)
}
