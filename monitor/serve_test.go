package monitor_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/monitor"
)

// The socket is for its owner alone, replaces one that is left over, and refuses one that is in use.
func TestServe(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	path := filepath.Join(t.TempDir(), "s.sock")
	client := &http.Client{Transport: &http.Transport{DialContext: dialUnix(path)}}
	defer client.CloseIdleConnections()
	serve := func() (context.CancelFunc, chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- monitor.Serve(ctx, path, p.m) }()
		for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
			if answer, err := client.Get("http://outbox/?format=json"); err == nil {
				answer.Body.Close()
				if answer.StatusCode != 200 {
					t.Fatal(answer.Status)
				}
				return cancel, ended
			} else if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	stop, ended := serve()
	if at, err := os.Lstat(path); err != nil || at.Mode().Perm() != 0o600 || at.Mode()&os.ModeSocket == 0 {
		t.Error(at, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".s*")); len(left) > 0 {
		t.Error("left behind: ", left)
	}
	if err := monitor.Serve(t.Context(), path, p.m); err == nil || !strings.Contains(err.Error(), "somebody answers on "+path) {
		t.Error(err)
	}
	stream, err := client.Get("http://outbox/?live=1")
	if err != nil || stream.StatusCode != 200 {
		t.Fatal(stream, err)
	}
	stop() // ends the stream too
	if err := <-ended; err != nil {
		t.Error(err)
	}
	stream.Body.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Error(err)
	}
	leaveSocket(t, path)
	stop, ended = serve()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServeRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{file: "is no socket", filepath.Join(dir, strings.Repeat("x", 110)): "at most 104", filepath.Join(dir, "none", "s"): "no such file"} {
		if err := monitor.Serve(t.Context(), path, p.m); err == nil || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "mine" {
		t.Error(err)
	}
}

// dialUnix connects to a socket.
func dialUnix(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// leaveSocket makes a socket that nobody answers on, as a crash leaves one.
func leaveSocket(t testing.TB, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
