package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox/internal/campaign"
)

// childVariable makes the test binary the program.
const childVariable = "STRICT_TEST_CHILD"

// TestMain is the program, or runs the tests. These wait for timers and for the disk more than they
// compute, so that more of them than processors run at once.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	grace = 500 * time.Millisecond
	flag.Parse()
	parallel := "8"
	if testing.Short() {
		parallel = "32"
	}
	if err := flag.Set("test.parallel", parallel); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// The promise as a whole: a sender that is killed on the way, against a receiver that lives on,
// delivers every event, none out of order, and never more than the limit in a second. With
// OUTBOX_LONG=1 it is killed five times, otherwise twice.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("processes, and seconds of real time: not with -short")
	}
	t.Parallel()
	n, kills := campaign.Pick(600, 90, 90), campaign.Pick(5, 2, 2)
	dir := t.TempDir()
	input := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(input, []byte(events(n)), 0o600); err != nil {
		t.Fatal(err)
	}

	r := started(t)
	unique := func() int { v := r.Verdict(); return v.Accepted - v.Repeated }
	var out strings.Builder // of one run at a time
	start := func() (cmd *exec.Cmd, ended chan error) {
		out.Reset()
		cmd = exec.Command(os.Args[0], "-in", input, "-db", filepath.Join(dir, "q.db"), "-url", r.URL)
		cmd.Env = append(os.Environ(), childVariable+"=1")
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
		for unique() < kill*n/(kills+1) {
			select {
			case <-time.After(time.Millisecond):
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
	f.want(t, 0, fmt.Sprintf("put=%d delivered=%[1]d", n))
	if err := r.Manners(); err != nil || unique() != n || r.Verdict().Throttled != 0 {
		t.Errorf("%d distinct events of %d: %v", unique(), n, err)
	}
	t.Log(summary(r.Verdict()))
}
