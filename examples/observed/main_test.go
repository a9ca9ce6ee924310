package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A transcript is what the program writes.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// get returns the body of a page of this machine.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return string(body), err
}

// eventually asks until the answer is yes. It is about other processes, whose time cannot be moved.
func eventually(t *testing.T, what string, ask func() (bool, string)) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after a minute there is no %s; last: %s", what, last)
		}
	}
}

// start runs the program until t ends, with a destination that refuses the credentials.
func start(t *testing.T) (addr string, d *destination, out *transcript) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, out = new(destination), new(transcript)
	d.down.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, l, filepath.Join(t.TempDir(), "events.db"), d, out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), d, out
}

// The outage is on the page, in the metrics and in the traces, and so is its end.
func TestObserved(t *testing.T) {
	addr, d, out := start(t)
	shows := func(path, text string) func() (bool, string) {
		return func() (bool, string) {
			body, err := get(t, "http://"+addr+path)
			return err == nil && strings.Contains(body, text), fmt.Sprint(err, body)
		}
	}
	eventually(t, "hold in the metrics", shows("/metrics", `outbox_held{cause="destination",lane="mail"} 1`))
	eventually(t, "hold on the page", shows("/outbox/", "The destination refuses our credentials"))
	eventually(t, "failure in a trace", func() (bool, string) {
		return strings.Contains(out.String(), "process mail  unavailable  for trace "), out.String()
	})
	d.down.Store(false)
	eventually(t, "end of the hold", shows("/metrics", `outbox_held{cause="destination",lane="mail"} 0`))
	delivered := regexp.MustCompile(`trace \w+  process mail  for trace (\w+)`)
	eventually(t, "delivery in a trace", func() (bool, string) {
		m := delivered.FindStringSubmatch(out.String())
		return m != nil && strings.Contains(out.String(), "trace "+m[1]+"  sign up"), out.String()
	})
}

// server starts a Prometheus on loopback that scrapes addr, and stops it when t ends. Without one the
// test is skipped, except with OUTBOX_PROMETHEUS=1, where it fails.
func server(t *testing.T, addr string) (base string) {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("OUTBOX_PROMETHEUS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // for a free port
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	rules, err := filepath.Abs("../../promoutbox/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := strings.NewReplacer("127.0.0.1:8080", addr, "15s", "200ms", "alerts.yml", rules).Replace(string(read(t, "prometheus.yml")))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log transcript
	cmd := exec.Command(path, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	base = "http://" + listen
	eventually(t, "Prometheus", func() (bool, string) {
		body, err := get(t, base+"/-/ready")
		return err == nil, fmt.Sprint(err, body, log.String())
	})
	return base
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// query returns how many series an expression has now.
func query(t *testing.T, base, expr string) (int, error) {
	t.Helper()
	body, err := get(t, base+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status string
		Data   struct{ Result []any }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		return 0, fmt.Errorf("%s: %v: %s", expr, err, body)
	}
	return len(answer.Data.Result), nil
}

// A real Prometheus sees the outage: the expression of the alert holds, and the alert is pending. After
// the outage each panel of the dashboard has something to show, except what is in no trouble.
func TestPrometheus(t *testing.T) {
	addr, d, _ := start(t)
	base := server(t, addr)
	some := func(expr string) func() (bool, string) {
		return func() (bool, string) {
			n, err := query(t, base, expr)
			return n > 0, fmt.Sprint(n, err)
		}
	}
	eventually(t, "hold", some(`outbox_held{cause!="storage"} == 1`))
	eventually(t, "alert", some(`ALERTS{alertname="OutboxHeld"}`))
	eventually(t, "age", some(`time() - outbox_oldest_ready_timestamp_seconds > 0.5`))
	d.down.Store(false)
	eventually(t, "end of the hold", some(`outbox_held{cause="destination"} == 0`))
	eventually(t, "end of the alert", func() (bool, string) {
		n, err := query(t, base, `ALERTS{alertname="OutboxHeld"}`)
		return n == 0 && err == nil, fmt.Sprint(n, err)
	})
	eventually(t, "delivery", some(`outbox_delivered_events_total > 0`))

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(read(t, "../../promoutbox/dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	values := strings.NewReplacer("$job", ".*", "$instance", ".*", "$lane", ".*", "$__rate_interval", "1m")
	asked := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			asked++
			n, err := query(t, base, values.Replace(target.Expr))
			if err != nil || n == 0 && p.Title != "Oldest that could be sent" {
				t.Errorf("%s: %d series of %s: %v", p.Title, n, target.Expr, err)
			}
		}
	}
	if asked < 12 {
		t.Errorf("the dashboard has %d expressions", asked)
	}
}

// The commands of docs/observe.md are this program and the configuration beside it.
func TestDocument(t *testing.T) {
	text := string(read(t, "../../docs/observe.md"))
	for _, want := range []string{
		"```sh\ngo run -C examples/observed .\n```", "```yaml\n" + string(read(t, "prometheus.yml")) + "```",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("docs/observe.md does not have %q", want)
		}
	}
}
