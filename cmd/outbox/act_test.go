package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/monitor"
)

// Each verb that acts does the same to a stopped file, over http and over a socket.
func TestActing(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			state := func(prefix, want string) {
				t.Helper()
				out, errs, code := call(t, "show", target, prefix)
				if first, _, _ := strings.Cut(out, "\n"); code != 0 || !strings.HasSuffix(first, "  "+want) {
					t.Errorf("%s: %q, %q expected: exit %d: %s", prefix, first, want, code, errs)
				}
			}
			want(t, 0, "2 of 2 dead events would be revived.\n", "revive", target, "--all", "--dry-run")
			want(t, 0, "1 of 2 dead events would be revived.\n", "revive", target, "--all", "--dry-run", "--key", "customer-*")
			want(t, 0, "{\"of\":2,\"v\":1,\"would\":2}\n", "revive", target, "--all", "--dry-run", "--json")
			want(t, 0, "1 of 2 events would be revived.\n", "revive", target, "--dry-run", "00000001", "00000003")
			state("00000001", "dead")
			want(t, exitNotFound, "0 of 1 event would be made due.\n", "run-now", target, "--dry-run", "00000001")
			want(t, exitNotFound, "0 events were made due. 1 was passed over: no longer there, or not retrying or scheduled.\n", "run-now", target, "00000001")
			want(t, exitNotFound, "0 of 2 dead events would be revived.\n", "revive", target, "--all", "--dry-run", "--key", "none")
			want(t, exitNotFound, "{\"of\":2,\"v\":1,\"would\":0}\n", "revive", target, "--all", "--dry-run", "--key", "none", "--json")

			want(t, 0, "1 event was revived.\n", "revive", target, "00000001")
			state("00000001", "ready")
			want(t, 0, "1 event was revived. 1 was passed over: no longer there, or not dead.\n", "revive", target, "00000001", id(2).String())
			want(t, exitNotFound, "0 events were revived.\n", "revive", target, "--all", "--yes")
			want(t, exitNotFound, "", "revive", target, "99999999")

			want(t, 0, "1 event was made due.\n", "run-now", target, "--all", "--yes")
			state("00000003", "retrying") // and due
			want(t, 0, "1 event was made due.\n", "run-now", target, "00000006")
			state("00000006", "ready")

			want(t, 0, "{\"done\":1,\"passed_over\":0,\"v\":1}\n", "drop", target, "00000005", "--yes", "--json")
			want(t, exitNotFound, "", "show", target, "00000005")

			want(t, 0, "Lane outbox is paused.\n", "pause", target, "--until", "2h", "--reason", "nightly \x1b[1mload")
			out, _, _ := call(t, "stats", target)
			if !strings.Contains(out, "  paused  ") || !strings.Contains(still(out), fmt.Sprintf("paused by %s until CLOCK: nightly \\x1b[1mload", me())) {
				t.Errorf("stats of a paused lane:\n%s", out)
			}
			want(t, exitUsage, "", "pause", target, "--until", "soon")
			want(t, exitUsage, "", "pause", target, "--until", "")
			want(t, exitUsage, "", "pause", target, "--until", "-2h")
			want(t, exitUsage, "", "pause", target, "--reason", strings.Repeat("x", 300))
			want(t, exitUsage, "", "resume", target, "--until", "2h")
			want(t, 0, "Lane outbox is resumed.\n", "resume", target)
			if out, _, _ := call(t, "stats", target); strings.Contains(out, "paused") {
				t.Errorf("stats of a resumed lane:\n%s", out)
			}
			want(t, 0, "Lane outbox and its file are compacted.\n", "compact", target)
			want(t, 0, "2 events of the key were dropped, and the key is cleared from the file.\n", "erase", target, "customer-3", "--yes")
			want(t, 0, "3 events were dropped.\n", "drop", target, "--all", "--state", "ready", "--yes")
			out, _, _ = call(t, "clear-throttle", target)
			if out != "Lane outbox has no throttle: nothing was changed.\n" {
				t.Errorf("clear-throttle: %q", out)
			}
		})
	}
}

// Without a terminal nobody is asked, and nothing is done.
func TestNoPrompt(t *testing.T) {
	target := fixture(t)
	for _, args := range [][]string{
		{"drop", target, "00000001"},
		{"drop", target, "--all"},
		{"revive", target, "--all"},
		{"run-now", target, "--all"},
		{"erase", target, "customer-3"},
	} {
		out, errs, code := callWith(t, "y\ny\n", args...)
		if code != exitUsage || out != "" || !strings.Contains(errs, "--yes") {
			t.Errorf("%v: exit %d: %q %q", args, code, out, errs)
		}
	}
	out, _, _ := call(t, "list", target, "--state", "dead", "--json")
	if strings.Count(out, "\n") != 2 {
		t.Errorf("dead: %s", out)
	}
}

// What is not allowed exits with 5, also behind a login that is not ours.
func TestNotAllowed(t *testing.T) {
	m := serve(t, fixture(t), func(r *http.Request, _ string) monitor.Access {
		if r.Header.Get("Authorization") != "Bearer secret" {
			return monitor.Access{}
		}
		return monitor.Access{Name: "reader", Read: true}
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login/" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		m.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	header := filepath.Join(t.TempDir(), "header")
	write(t, header, "# for the monitor\n\nauthorization: Bearer secret\n")
	for _, test := range []struct {
		code int
		args []string
	}{
		{exitNotAllowed, []string{"stats", server.URL}},
		{exitNotAllowed, []string{"stats", server.URL + "/login/"}},
		{exitDone, []string{"stats", server.URL, "--header-file", header}},
		{exitNotAllowed, []string{"pause", server.URL, "--header-file", header}},
		{exitNotAllowed, []string{"revive", server.URL, "--header-file", header, "00000001"}},
		{exitNotAllowed, []string{"show", server.URL, "--header-file", header, "00000001", "--payload"}},
		{exitDone, []string{"show", server.URL, "--header-file", header, "00000001"}},
		{exitUsage, []string{"stats", server.URL, "--header-file", header + ".none"}},
	} {
		if _, errs, code := call(t, test.args...); code != test.code || strings.Contains(errs, "secret") {
			t.Errorf("%v: exit %d, %d expected: %s", test.args, code, test.code, errs)
		}
	}
	write(t, header, "Bearer secret\n")
	if _, errs, code := call(t, "stats", server.URL, "--header-file", header); code != exitUsage || strings.Contains(errs, "secret") {
		t.Errorf("a line that is no header: exit %d: %s", code, errs)
	}
	other := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	if _, errs, code := call(t, "stats", other.URL); code != exitFailed || !strings.Contains(errs, "not of a monitor") {
		t.Errorf("not a monitor: exit %d: %s", code, errs)
	}
}

// A file in use without a socket exits with 4, and says how to make one.
func TestInUse(t *testing.T) {
	target := fixture(t)
	serve(t, target, everything)
	out, errs, code := call(t, "stats", target)
	if code != exitInUse || out != "" || !strings.Contains(errs, "monitor.New(") || !strings.Contains(errs, "go monitor.Serve(ctx, b.Path()+\".sock\", m)") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
