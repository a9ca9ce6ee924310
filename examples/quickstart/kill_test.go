package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The promise as a whole: a sender that is killed five times on the way, against a receiver that
// lives on, delivers every event, none out of order, and never more than the limit in a second.
func TestKilledFiveTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and runs it for some ten seconds")
	}
	const n, kills = 600, 5
	dir := t.TempDir()
	program := filepath.Join(dir, "quickstart")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	input := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(input, []byte(events(n)), 0o600); err != nil {
		t.Fatal(err)
	}

	r := newReceiver()
	reached := make(chan int, n) // distinct events accepted, after each request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.ServeHTTP(w, req)
		select {
		case reached <- r.verdict().Unique:
		default:
		}
	}))
	defer srv.Close()
	var out strings.Builder // of one run at a time
	start := func() (cmd *exec.Cmd, ended chan error) {
		out.Reset()
		cmd = exec.Command(program, "-in", input, "-db", filepath.Join(dir, "q.db"), "-url", srv.URL)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return cmd, ended
	}

	for kill := 1; kill <= kills; kill++ {
		cmd, ended := start()
		for unique := 0; unique < kill*n/(kills+1); {
			select {
			case unique = <-reached:
			case err := <-ended:
				t.Fatalf("the program ended before kill %d: %v\n%s", kill, err, &out)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
	_, ended := start()
	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	f := finished{out: out.String()}
	f.want(t, 0, `put=600 received=\d+ unique=600 duplicates=\d+ order_violations=0 fullest_second=(\d?\d|100)`)
	t.Log(f.lastLine())
}
