package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/outboxtest"
)

// childVariable makes the test binary the program.
const childVariable = "OUTBOX_COMMAND_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	os.Unsetenv(environment)
	os.Exit(m.Run())
}

// program returns a call of the program as a process.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	return cmd
}

// A destination keeps the requests that it gets, and answers by its function.
type destination struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
}

func newDestination(t *testing.T, status func(body string) int) *destination {
	t.Helper()
	d := &destination{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		code := http.StatusOK
		if status != nil {
			code = status(string(body))
		}
		d.mu.Lock()
		d.bodies, d.heads = append(d.bodies, string(body)), append(d.heads, r.Header)
		d.mu.Unlock()
		w.WriteHeader(code)
	}))
	t.Cleanup(d.Close)
	return d
}

// got returns the bodies so far.
func (d *destination) got() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.bodies...)
}

// Lines arrive byte for byte, in the order of their key, with the ID and the token.
func TestSend(t *testing.T) {
	d := newDestination(t, nil)
	db := filepath.Join(t.TempDir(), "spool.db")
	t.Setenv("API_TOKEN", "secret-token")
	in := `{"id":"a", "customer":{"id":7}}` + "\r\n\n" + `{"customer":{"id":7},"id":"b"}` + "\n" + `{"id":"c","customer":{"id":7}}`
	args := []string{"send", "--to", d.URL + "/events", "--db", db, "--key", ".customer.id", "--id", ".id", "--kind", ".kind", "--id-header", "Idempotency-Key", "--auth-env", "API_TOKEN"}
	out, errs, code := callWith(t, in, args...)
	if code != 0 || out != "put 3   delivered 3   pending 0   dead 0\n" || strings.Contains(errs, "secret") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if got, want := strings.Join(d.got(), "|"), `{"id":"a", "customer":{"id":7}}`+"\r|"+`{"customer":{"id":7},"id":"b"}|{"id":"c","customer":{"id":7}}`; got != want {
		t.Errorf("arrived: %q", got)
	}
	seen := make(map[string]bool)
	for _, h := range d.heads {
		if h.Get("Authorization") != "Bearer secret-token" || h.Get("Content-Type") != "application/json" {
			t.Errorf("header: %v", h)
		}
		seen[h.Get("Idempotency-Key")] = true
	}
	if len(seen) != 3 {
		t.Errorf("IDs: %v", seen)
	}
	// The same ID again, from the same text.
	if _, errs, code := callWith(t, `{"id":"a"}`, args...); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if last := d.heads[3].Get("Idempotency-Key"); !seen[last] {
		t.Errorf("the ID %s is new", last)
	}
	stored, err := os.ReadFile(db)
	if err != nil || bytes.Contains(stored, []byte("secret-token")) {
		t.Errorf("the file has the token, or cannot be read: %v", err)
	}
}

// What died is 6, what remains is 7, a line that cannot be read is 1, and what was before it is sent.
func TestSendEnds(t *testing.T) {
	d := newDestination(t, func(body string) int {
		switch {
		case strings.Contains(body, "bad"):
			return http.StatusBadRequest
		case strings.Contains(body, "later"):
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	for _, test := range []struct {
		in   string
		args []string
		code int
		out  string
		says string
	}{
		{"good\nbad\n", nil, exitUnhealthy, "put 2   delivered 1   pending 0   dead 1\n", "1 line is dead: see outbox dead "},
		{"good\nlater\n", []string{"--for", "300ms"}, exitUnfinished, "put 2   delivered 1   pending 1   dead 0\n", "1 line remains"},
		{"{\"k\":1}\n{\"k\n{\"k\":2}\n", []string{"--key", ".k"}, exitFailed, "put 1   delivered 1   pending 0   dead 0\n", "line 2 of what was read: it is not JSON"},
		{"{}\n", []string{"--id", ".id"}, exitFailed, "put 0   delivered 0   pending 0   dead 0\n", "there is no ID at .id"},
		{"", []string{"--json"}, exitDone, "{\"dead\":0,\"delivered\":0,\"dropped\":0,\"expired\":0,\"pending\":0,\"put\":0,\"v\":1}\n", ""},
		{"0123456789\n0123456789\n0123456789\n", []string{"--max-bytes", "10"}, exitDone, "put 3   delivered 3   pending 0   dead 0\n", ""},
	} {
		args := append([]string{"send", "--to", d.URL, "--db", filepath.Join(t.TempDir(), "spool.db")}, test.args...)
		out, errs, code := callWith(t, test.in, args...)
		if code != test.code || out != test.out || !strings.Contains(errs, test.says) {
			t.Errorf("%q %v: exit %d, %d expected: %s%s", test.in, test.args, code, test.code, out, errs)
		}
	}
}

// A line that cannot be read says where it is, and what is left: in the input, in the file, and dead.
func TestSendStops(t *testing.T) {
	d := newDestination(t, func(body string) int {
		switch {
		case strings.Contains(body, "bad"):
			return http.StatusBadRequest
		case strings.Contains(body, "later"):
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	dir := t.TempDir()
	text := "{\"k\":\"later\"}\n{\"k\":\"later 2\"}\n{\"k\":\"bad\"}\n\nsecret\n{\"k\":1}\n{\"k\":2}"
	in := filepath.Join(dir, "app.ndjson")
	write(t, in, text)
	stops := func(db, stdin, says string, more ...string) {
		t.Helper()
		db = filepath.Join(dir, db)
		out, errs, code := callWith(t, stdin, append([]string{"send", "--to", d.URL, "--db", db, "--key", ".k", "--for", "300ms"}, more...)...)
		says += "; 2 lines remain in " + db + ": start it again to go on; 1 line is dead: see outbox dead " + db + "\n"
		if code != exitFailed || out != "put 3   delivered 0   pending 2   dead 1\n" || !strings.HasSuffix(errs, "outbox: "+says) {
			t.Errorf("exit %d: %s%s\nit does not say %s", code, out, errs, says)
		}
	}
	stops("spool.db", text, "line 5 of what was read: it is not JSON; it and what follows is not sent")
	for range 2 { // the second goes on behind what the first has read
		stops("other.db", "", "line 5 of "+in+": it is not JSON; it and the 2 lines after it are not sent", "--in", in)
	}
}

// What is wrong with the flags is told before a file is made.
func TestSendFlags(t *testing.T) {
	db := filepath.Join(t.TempDir(), "spool.db")
	for _, args := range [][]string{
		{"--db", db},
		{"--to", "ftp://example.org", "--db", db},
		{"--to", "https://example.org"},
		{"--to", "https://example.org", "--db", db, "--rate", "100"},
		{"--to", "https://example.org", "--db", db, "--rate", "0/1s"},
		{"--to", "https://example.org", "--db", db, "--key", "customer"},
		{"--to", "https://example.org", "--db", db, "--auth-env", "OUTBOX_NO_SUCH_VARIABLE"},
		{"--to", "https://example.org", "--db", db, "--max-bytes", "0"},
	} {
		if _, errs, code := call(t, append([]string{"send"}, args...)...); code != exitUsage || errs == "" {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	if _, err := os.Stat(db); err == nil {
		t.Error("a file was made")
	}
}

// --in goes on where it ended, and refuses another file under that name.
func TestSendIn(t *testing.T) {
	d := newDestination(t, nil)
	dir := t.TempDir()
	in := filepath.Join(dir, "app.ndjson")
	args := []string{"send", "--to", d.URL, "--db", filepath.Join(dir, "spool.db"), "--in", in}
	write(t, in, "one\ntwo\n")
	want(t, 0, "put 2   delivered 2   pending 0   dead 0\n", args...)
	want(t, 0, "put 2   delivered 2   pending 0   dead 0\n", args...)
	write(t, in, "one\ntwo\nthree\n")
	want(t, 0, "put 3   delivered 3   pending 0   dead 0\n", args...)
	write(t, in, "uno\ntwo\nthree\nfour\n")
	if _, errs, code := call(t, args...); code != exitFailed || !strings.Contains(errs, "is not the file that was read before") {
		t.Errorf("another file: exit %d: %s", code, errs)
	}
	write(t, in, "one\n")
	if _, errs, code := call(t, args...); code != exitFailed || !strings.Contains(errs, "is not the file that was read before") {
		t.Errorf("a shorter file: exit %d: %s", code, errs)
	}
	want(t, exitUsage, "", "send", "--to", d.URL, "--db", filepath.Join(dir, "spool.db"), "--in", dir)
}

// While it sends, other calls look into its file, and a second send is refused. Interrupted it exits
// with 7, and what remains stays.
func TestSendInterrupted(t *testing.T) {
	arrived := make(chan bool, 10)
	d := newDestination(t, func(string) int { arrived <- true; return http.StatusInternalServerError })
	db := filepath.Join(t.TempDir(), "spool.db")
	in, feed := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"send", "--to", d.URL, "--db", db}, in, &out, &errs)
	}()
	fmt.Fprintln(feed, "one")
	<-arrived
	for !answers(db + ".sock") {
		time.Sleep(time.Millisecond)
	}
	if out, errs, code := call(t, "stats", db); code != 0 || !strings.Contains(out, "outbox  ") {
		t.Errorf("stats: exit %d: %s%s", code, out, errs)
	}
	want(t, exitInUse, "", "send", "--to", d.URL, "--db", db)
	cancel()
	if c := <-code; c != exitUnfinished || out.String() != "put 1   delivered 0   pending 1   dead 0\n" || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit %d: %s%s", c, out.String(), errs.String())
	}
	feed.Close()
}

// Killed five times against a receiver as strict as a vendor, it loses nothing, keeps the order of each
// key, and no window is above the limit.
func TestSendKilled(t *testing.T) {
	const lines, kills, each = 300, 5, 40
	var mu sync.Mutex
	bodies := make(map[string]bool)
	progress := make(chan int, 10*lines)
	v := outboxtest.NewReceiver(t, &outboxtest.ReceiverOptions{Limit: 80, IDHeader: "Idempotency-Key", Key: func(_ *http.Request, body []byte) string {
		var doc struct{ Customer string }
		if json.Unmarshal(body, &doc) != nil {
			return ""
		}
		mu.Lock()
		bodies[string(body)] = true
		n := len(bodies)
		mu.Unlock()
		progress <- n
		return doc.Customer
	}})
	dir := t.TempDir()
	in := filepath.Join(dir, "app.ndjson")
	var text strings.Builder
	for n := range lines {
		fmt.Fprintf(&text, `{"customer":"c%d","n":%d}`+"\n", n%40, n)
	}
	write(t, in, text.String())
	args := []string{"send", "--to", v.URL, "--db", filepath.Join(dir, "spool.db"), "--in", in, "--rate", "80/1s", "--key", ".customer", "--id-header", "Idempotency-Key"}
	for kill := range kills {
		cmd := program(t, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for n := range progress {
			if n >= (kill+1)*each {
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // its error: it was killed
	}
	out, err := program(t, args...).Output()
	if err != nil || !strings.HasPrefix(string(out), fmt.Sprintf("put %d   delivered %d   pending 0   dead 0", lines, lines)) {
		t.Fatalf("the last one: %v: %s", err, out)
	}
	if len(bodies) != lines {
		t.Errorf("%d different lines arrived, %d expected", len(bodies), lines)
	}
	v.RequireManners()
	t.Logf("%+v", v.Verdict())
}
