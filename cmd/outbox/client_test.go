package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
)

// A socket that this user may not open is not one that nobody answers on.
func TestSocketNotAllowed(t *testing.T) {
	cl := newClient(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	}})
	defer cl.close()
	cl.base, cl.name = &url.URL{Scheme: "http", Host: "outbox"}, "unix:events.db.sock"
	if _, err := cl.get(t.Context(), new(overview)); codeOf(err) != exitNotAllowed {
		t.Errorf("exit %d: %v", codeOf(err), err)
	}
}

// A monitor that takes a request and gives no answer does not hang a probe; an action may take long.
func TestSilentMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := outboxtest.NewPipe()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				time.Sleep(10 * answerTime)
				w.Header().Set("Outbox-Monitor", "1")
				w.Write([]byte(`{"v":1,"done":3}`))
				return
			}
			<-r.Context().Done()
		})}
		go server.Serve(pipe)
		defer server.Close()
		cl := newClient(&http.Transport{DialContext: pipe.DialContext})
		defer cl.close()
		cl.base, cl.name = &url.URL{Scheme: "http", Host: "outbox"}, "outbox"

		begun := time.Now()
		if _, err := cl.get(t.Context(), new(overview)); codeOf(err) != exitInUse || time.Since(begun) != answerTime {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		if d, err := cl.act(t.Context(), "events", &action{Do: "erase", Key: "k"}); err != nil || d.Done != 3 {
			t.Errorf("an action: %+v, %v", d, err)
		}
	})
}
