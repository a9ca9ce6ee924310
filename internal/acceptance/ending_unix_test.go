//go:build unix

package acceptance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
	"github.com/seed8107221f/outbox/store"
)

// The tasks of TestSIGTERM put a backlog and deliver it until SIGTERM comes.
func init() {
	transport := sender.TransportFunc(func(ctx context.Context, it sender.Item) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv(childURL)+"/"+string(it.Payload), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
	tasks["end on SIGTERM"] = func(path string) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		b, err := outbox.Open(path, transport, nil)
		if err != nil {
			return err
		}
		for i := range 100 {
			if _, err := b.Put(context.Background(), outbox.Event{Payload: fmt.Append(nil, i)}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		fmt.Println("ending")
		return b.Close()
	}
	tasks["run until SIGTERM"] = func(path string) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		st, err := store.Open(path, nil)
		if err != nil {
			return err
		}
		for i := range 100 {
			if err := st.Append(context.Background(), sender.Item{Payload: fmt.Append(nil, i), Created: time.Now()}); err != nil {
				return err
			}
		}
		s, err := sender.New(st, transport, nil, nil)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { fmt.Println("ending") })
		return errors.Join(s.Run(ctx), st.Close())
	}
}

// A process that gets SIGTERM while requests are in flight waits for their answers.
func TestSIGTERM(t *testing.T) {
	t.Parallel()
	for _, task := range []string{"end on SIGTERM", "run until SIGTERM"} {
		t.Run(task, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			accepted := make(map[string]int)
			full, answer := make(chan struct{}), make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				accepted[r.URL.Path]++
				if len(accepted) == 10 {
					close(full)
				}
				mu.Unlock()
				<-answer
			}))
			defer srv.Close()
			path := newPath(t)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childTask+"="+task, childPath+"="+path, childURL+"="+srv.URL)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-full
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() && lines.Text() != "ending" {
			}
			close(answer)
			for lines.Scan() {
				t.Log(lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the process: %v", err)
			}
			s := open(t, path, nil, nil).Stats()
			if n := len(accepted); s.Delivered != uint64(n) || s.Pending != 100-n || s.Dead != 0 {
				t.Errorf("%d accepted; afterwards %+v", n, s)
			}
			for name, times := range accepted {
				if times != 1 {
					t.Errorf("%s arrived %d times", name, times)
				}
			}
		})
	}
}
