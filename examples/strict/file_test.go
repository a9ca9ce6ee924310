package main

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"
)

// An error of opening the file speaks of another process only if one has the file.
func TestOpenFileFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "app.db")
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for path, waited := range map[string]bool{path: true, t.TempDir(): false} {
			f, err := openFile(path, nil, nil)
			if err == nil {
				t.Error("opened", f.close())
				continue
			}
			if strings.Contains(err.Error(), "another process") != waited || strings.Count(err.Error(), "5s") > 0 != waited {
				t.Errorf("error %q, and another process has it: %t", err, waited)
			}
		}
	})
}
