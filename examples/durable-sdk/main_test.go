package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/customerio/customeriotest"
)

// TestMain takes the credentials in the environment of the tests out of the way.
func TestMain(m *testing.M) {
	for _, name := range []string{"SITE_ID", "TRACK_API_KEY", "TRACK_URL"} {
		os.Unsetenv("CUSTOMERIO_" + name)
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), "", 40, &out); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"put=120 delivered=120 pending=0 dead=0\n", "operations=120 unique=120 duplicates=0"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %q in:\n%s", text, out.String())
		}
	}
}

// With credentials in the environment the calls go where it says, and nothing of them is in the file.
func TestEnvironment(t *testing.T) {
	s := customeriotest.NewServer(&customeriotest.Options{TrackKey: "hush-track-key"})
	defer s.Close()
	t.Setenv("CUSTOMERIO_SITE_ID", "site")
	t.Setenv("CUSTOMERIO_TRACK_API_KEY", "hush-track-key")
	t.Setenv("CUSTOMERIO_TRACK_URL", s.URL())
	db := filepath.Join(t.TempDir(), "sdk.db")
	var out bytes.Buffer
	if err := run(t.Context(), db, 5, &out); err != nil {
		t.Error(err)
	}
	if v := s.Verdict(); v.Unique != 15 || out.String() != "put=15 delivered=15 pending=0 dead=0\n" {
		t.Errorf("%v, %q", v, out.String())
	}
	if file, err := os.ReadFile(db); err != nil || bytes.Contains(file, []byte("hush")) {
		t.Errorf("the key is in the file, or: %v", err)
	}
}
