package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// needRedis skips the test without a redis-server, except with OUTBOX_REDIS=1, where it fails.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("OUTBOX_REDIS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// TestFleet runs the example for a short time, and expects that it keeps its promises.
func TestFleet(t *testing.T) {
	needRedis(t)
	exe := t.TempDir() + "/fleet"
	if out, err := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(exe, "-for", "5s", "-processes", "4").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), " lost=0 order_violations=0 refused_for_rate=0 ") {
		t.Errorf("no verdict at the end:\n%s", out)
	}
	if err := exec.Command(exe, "-processes", "0").Run(); err == nil {
		t.Error("-processes 0: nil, an error expected")
	}
}
