package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
)

// testdata/format1.db was written by the first build of format 1 and must open for ever. Its clock
// stood at born. Each item is known by the last byte of its ID, which its payload leads with.
func TestFormat1OpensForEver(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "format1.db"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := open(path, &prompt, func() time.Time { return born.Add(30 * time.Minute) })
	if err != nil {
		t.Fatal(err)
	}
	if want := born.Add(time.Hour); !s.Paused().Equal(want) {
		t.Errorf("paused until %v, want %v", s.Paused(), want)
	}
	c := s.Counts()
	if c.Ready != 3 || c.Scheduled != 1 || c.Retrying != 2 || c.Dead != 1 || c.Bytes != 6*3 || c.DeadBytes != 3 {
		t.Errorf("counts %+v", c)
	}
	if c.Put != 9 || c.Delivered != 1 || c.Expired != 1 || c.Dropped != 0 {
		t.Errorf("ledger %+v", c)
	}
	minute := func(n int) time.Time { return born.Add(time.Duration(n) * time.Minute) }
	want := map[byte]struct {
		key string
		due time.Time
	}{
		1: {}, 4: {key: "a"}, 9: {},
		3: {key: "a", due: minute(1)}, 5: {key: "b", due: minute(2)},
		2: {key: "a", due: minute(100 * 60)},
	}
	for _, it := range list(t, s.Pending()) {
		id := it.ID[15]
		w, ok := want[id]
		if delete(want, id); !ok {
			t.Errorf("pending: %v, which should not be", it)
		}
		if it.ID != (uuid.UUID{15: id}) || it.Kind != "kind" || it.Key != w.key || !it.Due.Equal(w.due) ||
			string(it.Payload) != string([]byte{id, 0, 0xff}) || !it.Created.Equal(born.Add(time.Duration(id))) {
			t.Errorf("pending: %+v", it)
		}
		if retried := id == 3 || id == 5; retried != (it.LastErr == "503 for "+w.key) || retried != (it.Attempts == 1 && it.Failures == 2 && it.FailedAt.Equal(born.Add(time.Second))) {
			t.Errorf("failures of %+v", it)
		}
		if first := id == 1; first != (len(it.Header) == 2 && it.Header["content-type"] == "application/json" && it.Header[""] == "empty") || first != it.Expires.Equal(born.Add(1000*time.Hour)) {
			t.Errorf("header and end of %+v", it)
		}
	}
	if len(want) > 0 {
		t.Errorf("not found: %v", want)
	}
	if dead := list(t, s.Dead()); len(dead) != 1 || dead[0].ID[15] != 6 || dead[0].LastErr != "503 for c" {
		t.Errorf("dead: %+v", dead)
	}
	checkedClose(t, s)

	s = openStore(t, path, nil) // today all of it is due
	if got := drain(t, s); len(got) != 6 {
		t.Errorf("%d delivered, want 6", len(got))
	}
}
