package monitor_test

import (
	"bufio"
	"context"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// events opens a stream and returns its lines.
func events(t *testing.T, server *httptest.Server, query string) (lines <-chan string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL+query, nil)
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatal(answer.StatusCode, answer.Header)
	}
	out := make(chan string, 10_000)
	go func() {
		defer close(out)
		defer answer.Body.Close()
		for s := bufio.NewScanner(answer.Body); s.Scan(); {
			out <- s.Text()
		}
	}()
	return out, cancel
}

// await waits for a line that has part.
func await(t *testing.T, lines <-chan string, part string) {
	t.Helper()
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the stream ended before %q", part)
			}
			if strings.Contains(line, part) {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("no %q", part)
		}
	}
}

// A stream tells what changes, ends with Close, and leaves no goroutine.
func TestStream(t *testing.T) {
	p := newPlace(t, nil)
	server := httptest.NewServer(p.m)
	lines, _ := events(t, server, "/?live=1&lane=track")
	await(t, lines, "Idle: nothing is pending")
	p.put("down")
	await(t, lines, "Held: the destination refuses our credentials")
	over, _ := events(t, server, "/?live=1")
	await(t, over, "The lane needs you")
	p.m.Close()
	for range lines {
	}
	for range over {
	}
	answer, err := server.Client().Get(server.URL + "/?live=1")
	if err != nil || answer.StatusCode != 503 {
		t.Fatal(answer, err)
	}
	answer.Body.Close()
	server.Client().CloseIdleConnections()
	server.Close()
	stacks := func() string {
		b := make([]byte, 1<<20)
		return string(b[:runtime.Stack(b, true)])
	}
	for end := time.Now().Add(10 * time.Second); strings.Contains(stacks(), "/monitor.(*"); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal(stacks())
		}
	}
}

// The page of an event follows it: why it waits, that its state is another, and that it has gone.
func TestStreamOfAnEvent(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	server := httptest.NewServer(p.m)
	t.Cleanup(server.Close) // after the streams have ended
	follow := func(state string) <-chan string {
		t.Helper()
		e := p.json("?lane=track&list=" + state)["items"].([]any)[0].(map[string]any)
		page := p.get(fmt.Sprintf("?lane=track&item=%s&at=%.0f", e["id"], e["at"])).Body.String()
		_, query, found := strings.Cut(page, `data-live="`)
		if !found {
			t.Fatal("the page is not live: ", page)
		}
		query, _, _ = strings.Cut(query, `"`)
		lines, stop := events(t, server, "/"+html.UnescapeString(query))
		t.Cleanup(stop)
		return lines
	}
	p.put("later")
	lines := follow("scheduled")
	await(t, lines, "Its time has not come")
	p.b.Pause(t.Context(), sender.Pause{By: "ann"})
	await(t, lines, "Paused by ann")
	p.b.Resume(t.Context())
	for it := range p.b.Pending() {
		if n, err := p.b.RunNow(t.Context(), it); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	await(t, lines, "It is no longer here: it was delivered, or dropped, or it expired.")

	p.put("refused")
	lines = follow("dead")
	await(t, lines, ">Dead<")
	p.b.Pause(t.Context(), sender.Pause{})
	if n, err := p.b.Revive(t.Context(), p.dead()...); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	await(t, lines, "It is no longer dead.")
	p.b.Resume(t.Context())
	await(t, lines, ">Dead<") // again
	if _, err := p.b.Drop(t.Context(), p.dead()...); err != nil {
		t.Fatal(err)
	}
	await(t, lines, "It is no longer here")
	if w := p.get("?live=1&lane=track&item=x"); w.Code != 400 {
		t.Error(w.Code)
	}
}

// A stream ends when the right to read does.
func TestStreamRights(t *testing.T) {
	t.Parallel()
	allowed := make(chan bool, 1)
	allowed <- true
	p := newPlace(t, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		may := <-allowed
		allowed <- may
		return monitor.Access{Read: may}
	}})
	server := httptest.NewServer(p.m)
	defer server.Close()
	lines, stop := events(t, server, "/?live=1&lane=track")
	defer stop()
	await(t, lines, "Idle")
	<-allowed
	allowed <- false
	for range lines {
	}
}

// There are at most so many streams, and there is room again when one ends.
func TestStreamLimit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	server := httptest.NewServer(p.m)
	defer server.Close()
	defer p.m.Close()
	var stop func()
	for range 32 {
		var lines <-chan string
		lines, stop = events(t, server, "/?live=1")
		await(t, lines, "data:")
	}
	if w := p.get("?live=1&format=json"); w.Code != 503 || !strings.Contains(w.Body.String(), `"busy"`) {
		t.Error(w.Code, w.Body)
	}
	stop()
	for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		answer, err := server.Client().Get(server.URL + "/?live=1")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatal(answer.Status)
		}
	}
}

// A pipeListener hands out connections in memory, which work in a bubble of synctest.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// inBubble serves a lane by a server with a WriteTimeout, 0 for none, and opens one stream.
func inBubble(t *testing.T, timeout time.Duration, test func(p *place, server *http.Server, c net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, nil)
		server := &http.Server{Handler: p.m, WriteTimeout: timeout}
		server.RegisterOnShutdown(func() { p.m.Close() })
		l := &pipeListener{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- server.Serve(l) }()
		theirs, ours := net.Pipe()
		l.conns <- theirs
		if _, err := ours.Write([]byte("GET /?live=1&lane=track HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		test(p, server, ours)
		ours.Close()
		if server.Close(); <-served != http.ErrServerClosed {
			t.Error("it does not serve")
		}
	})
}

// A server's WriteTimeout does not cut a stream, and Shutdown ends it at once.
func TestStreamOutlivesWriteTimeout(t *testing.T) {
	t.Parallel()
	inBubble(t, time.Second, func(p *place, server *http.Server, c net.Conn) {
		ended := make(chan struct{})
		var text strings.Builder
		go func() {
			io.Copy(&text, c)
			close(ended)
		}()
		time.Sleep(20 * time.Second)
		p.put("refused")
		time.Sleep(2 * time.Second)
		start := time.Now()
		if err := server.Shutdown(p.t.Context()); err != nil || time.Since(start) > time.Second {
			p.t.Error(err, time.Since(start))
		}
		<-ended
		holds(p.t, text.String(), "text/event-stream", "1 dead")
	})
}

// A reader that stops reading is rid of after ten seconds, and its place is free.
func TestStreamStalled(t *testing.T) {
	t.Parallel()
	inBubble(t, 0, func(p *place, server *http.Server, c net.Conn) {
		start, first := time.Now(), make([]byte, 100)
		if _, err := io.ReadFull(c, first); err != nil {
			p.t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if _, err := io.Copy(io.Discard, c); err != nil || time.Since(start) > 12*time.Second {
			p.t.Error("it ended after ", time.Since(start), err)
		}
	})
}

// plain is a writer that cannot flush.
type plain struct{ http.ResponseWriter }

func TestNoFlusher(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	w := httptest.NewRecorder()
	p.m.ServeHTTP(plain{w}, httptest.NewRequest("GET", "/?live=1&format=json", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"busy"`) {
		t.Error(w.Code, w.Body)
	}
}

// A quiet stream shows every 15 s that it works, and ends by itself after five minutes.
func TestStreamQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := outbox.Open(filepath.Join(t.TempDir(), "events.db"), sender.TransportFunc(destination), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		m, err := monitor.New(map[string]*outbox.Outbox{"track": b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		start := time.Now()
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "/?live=1", nil).WithContext(t.Context()))
		if d := time.Since(start); d != 5*time.Minute {
			t.Error("it took", d)
		}
		if n := strings.Count(w.Body.String(), "\n:\n"); n < 15 || n > 20 {
			t.Errorf("%d comments:\n%s", n, w.Body)
		}
		if n := strings.Count(w.Body.String(), `id="lanes"`); n != 1 {
			t.Errorf("%d times the same", n)
		}
	})
}
