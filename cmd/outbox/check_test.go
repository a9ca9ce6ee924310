package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// check says the same of a stopped file, over http and over the socket.
func TestCheck(t *testing.T) {
	for _, how := range reached {
		t.Run(how, func(t *testing.T) {
			target := reach(t, how)
			want(t, 0, "Lane outbox: every event is accounted for.\n", "check", target)
			want(t, 0, `{"lanes":[{"lane":"outbox","ok":true}],"ok":true,"v":1}`+"\n", "check", target, "--json")
			want(t, exitNotFound, "", "check", target, "--lane", "none")
		})
	}
}

// damage makes the records of a stopped file that hold this unreadable.
func damage(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(text)) {
		t.Fatalf("the file does not hold %q", text)
	}
	write(t, path, string(bytes.ReplaceAll(b, []byte(text), bytes.Repeat([]byte("?"), len(text)))))
}

// A damaged file exits with 6, and salvage saves the rest.
func TestDamaged(t *testing.T) {
	path := fixture(t)
	damage(t, path, "five")
	out, errs, code := call(t, "check", path)
	if code != exitUnhealthy || !strings.Contains(out, "damaged") || !strings.Contains(errs, "outbox salvage "+path+" copies") {
		t.Fatalf("check: exit %d: %s%s", code, out, errs)
	}
	fresh := filepath.Join(t.TempDir(), "fresh.db")
	out, errs, code = call(t, "salvage", path, "--into", fresh)
	if code != 0 || !strings.HasPrefix(out, "5 events saved, 0 suspicious, 1 lost.\n") || !strings.Contains(errs, "found:") {
		t.Fatalf("salvage: exit %d: %s%s", code, out, errs)
	}
	want(t, 0, "Lane outbox: every event is accounted for.\n", "check", fresh)
	want(t, exitNotFound, "", "salvage", path+".none")
	serve(t, fresh, everything)
	want(t, exitInUse, "", "salvage", fresh)
}

// The damage of a file in use is told too.
func TestDamagedInUse(t *testing.T) {
	path := fixture(t)
	m := serve(t, path, everything)
	serveSocket(t, path, m)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("5"), int64(bytes.LastIndex(b, []byte("five")))); err != nil {
		t.Fatal(err)
	}
	out, errs, code := call(t, "check", path)
	if code != exitUnhealthy || !strings.HasPrefix(out, "Lane outbox: ") || strings.Contains(out, "accounted for.") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	out, errs, code = call(t, "check", path, "--json")
	if code != exitUnhealthy || !strings.Contains(out, `"ok":false`) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
