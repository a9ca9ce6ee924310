package monitor_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// A destination that fails for the few events there are does not hold the lane, which waits. It is not
// well then, until something is delivered.
func TestFailing(t *testing.T) {
	t.Parallel()
	p := newPlaceOver(t, nil, &outbox.Options{Sender: sender.Options{Backoff: func(int) time.Duration { return time.Hour }}})
	other := newPlace(t, nil)
	other.put("later") // it waits too, and is well
	m, err := monitor.New(map[string]*outbox.Outbox{"a": other.b, "track": p.b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access { return all }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p.m = m
	p.put("later")
	holds(t, p.get("").Body.String(), "All 2 lanes are well")
	p.put("fails")
	holds(t, p.get("").Body.String(), "1 of 2 lanes needs you", "The last try failed: ", "503 Service Unavailable", "1 event waits for the next try.")
	p.put("later", "fails")
	page := p.get("").Body.String()
	holds(t, page, "1 of 2 lanes needs you", "The last 2 tries failed: ", "2 events wait for the next try.")
	if strings.Index(page, "lane=track") > strings.Index(page, "lane=a") {
		t.Error("the lane that fails is not the first one")
	}
	page = p.get("?lane=track").Body.String()
	holds(t, page, "Waiting: the last 2 tries failed", "503 Service Unavailable", "Look at the last errors and at the destination")
	lacks(t, page, "nothing is due now")
	p.put("later", "later", "fine")
	holds(t, p.get("").Body.String(), "All 2 lanes are well")
	holds(t, p.get("?lane=track").Body.String(), "Waiting: nothing is due now")
}

// The process holds the last copy of a file that was removed: nobody is told that it heals by itself.
func TestFileRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.db")
	b, err := outbox.Open(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	m, err := monitor.New(map[string]*outbox.Outbox{"track": b}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), outbox.Event{}); err == nil {
		t.Fatal("it was put")
	}
	page := (&place{t: t, m: m}).get("?lane=track").Body.String()
	holds(t, page, "Held: the file was removed while it is in use", "Do not stop the process: it holds the last copy")
	lacks(t, page, "heals by itself")
}
