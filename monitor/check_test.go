package monitor_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

// A program may have a lane checked if it may act. Damage is told as what is wrong with the storage.
func TestCheck(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused", "fails")
	if doc := decode(t, p.post("?lane=track", `{"do":"check"}`), 200); doc["done"] != 0.0 {
		t.Error(doc)
	}
	p.may = monitor.Access{Name: "reader", Read: true, Payload: true}
	decode(t, p.post("?lane=track", `{"do":"check"}`), 403)

	path := filepath.Join(t.TempDir(), "damaged.db")
	b, err := outbox.Open(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Put(t.Context(), outbox.Event{Payload: []byte("what is damaged")}); err != nil {
		t.Fatal(err)
	}
	damage(t, path, "what is damaged")
	m, err := monitor.New(map[string]*outbox.Outbox{"track": b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access { return all }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p.m = m
	doc := decode(t, p.post("?lane=track", `{"do":"check"}`), 500)
	if e, _ := doc["error"].(map[string]any); e["code"] != "storage" {
		t.Error(doc)
	}
}

// damage overwrites a text in a file that stays open.
func damage(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(all, []byte(text))
	if at < 0 {
		t.Fatalf("the file does not hold %q", text)
	}
	if _, err := f.WriteAt([]byte("?"), int64(at)); err != nil {
		t.Fatal(err)
	}
}
