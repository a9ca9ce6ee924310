package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// events is an input of n events of seven customers.
func events(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"kind":"event","key":"k%d","payload":{"n":%d}}`+"\n", i%7, i)
	}
	return b.String()
}

// A finished run of the program.
type finished struct {
	status   int
	out, err string
}

func (f finished) lastLine() string {
	lines := strings.Split(strings.TrimSuffix(f.out, "\n"), "\n")
	return lines[len(lines)-1]
}

func runWith(ctx context.Context, stdin string, args ...string) finished {
	var out, err bytes.Buffer
	status := run(ctx, args, strings.NewReader(stdin), &out, &err)
	return finished{status, out.String(), err.String()}
}

// want fails the test unless the run ended like this; last is a pattern of the whole last line.
func (f finished) want(t *testing.T, status int, last string) {
	t.Helper()
	if f.status != status || !regexp.MustCompile("^"+last+"$").MatchString(f.lastLine()) {
		t.Errorf("status %d, last line %q, want %d and %s\nerrors:\n%s", f.status, f.lastLine(), status, last, f.err)
	}
}

func TestDeliversAllAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("processes, and seconds of real time: not with -short")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	got := runWith(t.Context(), events(120)+"not an event\n", "-in", "-")
	got.want(t, 0, `put=120 received=120 unique=120 duplicates=0 order_violations=0 fullest_second=\d\d answered_429=0 answered_503=\d+ rate=\d+\.\d`)
	for _, part := range []string{"line 121 is skipped", "1 malformed lines"} {
		if !strings.Contains(got.err, part) {
			t.Errorf("the errors lack %q:\n%s", part, got.err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestSecondRunPutsNoLineTwice(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "q.db")
	runWith(t.Context(), events(20), "-in", "-", "-db", db).
		want(t, 0, `put=20 received=20 unique=20 .*`)
	got := runWith(t.Context(), events(25), "-in", "-", "-db", db)
	got.want(t, 0, `put=25 received=5 unique=5 .*`)
	if !strings.Contains(got.out, "kept in "+db) {
		t.Errorf("the file that is kept is not named:\n%s", got.out)
	}
}

func TestWaitsForItsTime(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of real time: not with -short")
	}
	t.Parallel()
	due := time.Now().Add(1200 * time.Millisecond)
	line := fmt.Sprintf(`{"kind":"event","payload":1,"not_before":%q}`, due.Format(time.RFC3339Nano))
	runWith(t.Context(), line, "-in", "-").want(t, 0, `put=1 received=1 .*`)
	if early := time.Until(due); early > 0 {
		t.Errorf("it ends %v before the event is due", early)
	}
}

func TestDeadEventFailsTheRun(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), `"n":3}`) {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer srv.Close()
	db := filepath.Join(t.TempDir(), "q.db")
	got := runWith(t.Context(), events(10), "-in", "-", "-db", db, "-url", srv.URL)
	got.want(t, 1, `put=10 delivered=9`)
	for _, part := range []string{"400 Bad Request", "1 events are dead"} {
		if !strings.Contains(got.err, part) {
			t.Errorf("the errors lack %q:\n%s", part, got.err)
		}
	}
}

func TestReceiveAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of real time: not with -short")
	}
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	var out bytes.Buffer
	r, w := io.Pipe()
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"-receive", "127.0.0.1:0"}, nil, w, io.Discard); w.Close() }()

	var at string
	if _, err := fmt.Fscanf(r, "receiving on %s\n", &at); err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	go func() { io.Copy(&out, r); close(copied) }()
	sent := runWith(t.Context(), events(30), "-in", "-", "-url", at)
	sent.want(t, 0, "put=30 delivered=30")
	interrupt()
	if status := <-ended; status != 0 {
		t.Errorf("the receiver ends with status %d, want 0", status)
	}
	<-copied
	finished{out: out.String()}.want(t, 0, `received=30 unique=30 duplicates=0 order_violations=0 fullest_second=\d\d answered_429=0 answered_503=\d+ rate=\d+\.\d`)
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-nonsense"}, {"events.ndjson"}, {"-url", "localhost:8080"}, {"-url", "ftp://host"},
		{"-rate", "-1"}, {"-rate", "5", "-burst", "0"}, {"-concurrency", "0"},
	} {
		if got := runWith(t.Context(), "", args...); got.status != 2 || got.err == "" {
			t.Errorf("%q: status %d, errors %q, want 2 and why", args, got.status, got.err)
		}
	}
	if got := runWith(t.Context(), "", "-in", filepath.Join(t.TempDir(), "none")); got.status != 1 || !strings.Contains(got.err, "none") {
		t.Errorf("an input that is not there: status %d, errors %q", got.status, got.err)
	}
}

// onLine calls do once, when a written line has the text.
type onLine struct {
	bytes.Buffer
	text string
	once sync.Once
	do   func()
}

func (w *onLine) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.text)) {
		w.once.Do(w.do)
	}
	return w.Buffer.Write(p)
}

func TestInterruptKeepsWhatRemains(t *testing.T) {
	if testing.Short() {
		t.Skip("processes, and seconds of real time: not with -short")
	}
	t.Parallel()
	nobody := httptest.NewServer(nil)
	nobody.Close()
	db := filepath.Join(t.TempDir(), "q.db")
	ctx, interrupt := context.WithCancel(t.Context())
	out, errs := &onLine{text: "pending 10  delivered 0", do: interrupt}, &bytes.Buffer{}
	status := run(ctx, []string{"-in", "-", "-db", db, "-url", nobody.URL}, strings.NewReader(events(10)), out, errs)
	if status != 1 || !strings.Contains(errs.String(), "10 events remain") || !strings.Contains(out.String(), db) {
		t.Errorf("status %d, want 1, and what remains, and where\n%s%s", status, out, errs)
	}
	if said := errs.String(); !strings.Contains(said, "waiting for 0 requests in flight") && !strings.Contains(said, "waiting for 1 requests in flight") ||
		!strings.Contains(said, "at most 500ms") || !strings.Contains(said, "10 pending events stays in "+db) {
		t.Errorf("an interrupt does not say what it waits for:\n%s", errs)
	}
	if !strings.Contains(out.String(), "held: ") {
		t.Errorf("the progress does not say that the destination is away:\n%s", out)
	}
	runWith(t.Context(), events(10), "-in", "-", "-db", db).want(t, 0, `put=10 received=10 unique=10 duplicates=0 .*`)
}
