package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// refused is an answer with a status, as httpsend has it.
type refused int

func (r refused) Error() string { return fmt.Sprintf("POST example.com/batch: %d", int(r)) }
func (r refused) Status() int   { return int(r) }

// destination answers by the kind of the event.
func destination(_ context.Context, it sender.Item) error {
	switch kind, _, _ := strings.Cut(it.Kind, "/"); kind {
	case "refused":
		return sender.Permanent(errors.New("400, the name is empty"))
	case "hostile":
		return sender.Permanent(errors.New(it.Key))
	case "fails":
		return errors.New("503 Service Unavailable")
	case "down":
		return sender.Unavailable(refused(401))
	case "slow":
		return sender.Throttled(refused(429), time.Hour)
	}
	return nil
}

// A place is an outbox with a monitor.
type place struct {
	t    testing.TB
	b    *outbox.Outbox
	m    *monitor.Monitor
	path string
	may  monitor.Access // what everybody may do
}

var all = monitor.Access{Name: "oncall", Read: true, Payload: true, Act: true}

func newPlace(t testing.TB, o *monitor.Options) *place {
	t.Helper()
	return newPlaceOver(t, o, &outbox.Options{})
}

func newPlaceOver(t testing.TB, o *monitor.Options, bo *outbox.Options) *place {
	t.Helper()
	p := &place{t: t, path: filepath.Join(t.TempDir(), "events.db"), may: all}
	var err error
	if p.b, err = outbox.Open(p.path, sender.TransportFunc(destination), bo); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.b.Check(context.Background()); err != nil && !errors.Is(err, outbox.ErrClosed) {
			t.Error(err)
		}
		p.b.Close()
	})
	if o == nil {
		o = &monitor.Options{}
	}
	if o.Allow == nil {
		o.Allow = func(*http.Request, string) monitor.Access { return p.may }
	}
	if p.m, err = monitor.New(map[string]*outbox.Outbox{"track": p.b}, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.m.Close() })
	return p
}

// put stores events, one for each kind, and waits until each was tried.
func (p *place) put(kinds ...string) {
	p.t.Helper()
	for i, kind := range kinds {
		e := outbox.Event{Kind: kind, Key: fmt.Sprint("customer-", i), Payload: []byte(`{"secret":"payload"}`), Header: map[string]string{"traceparent": "secret-value"}}
		if kind == "later" {
			e.NotBefore = time.Now().Add(time.Hour)
		}
		if _, err := p.b.Put(p.t.Context(), e); err != nil {
			p.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	if err := p.b.Flush(ctx); err != nil && !errors.Is(err, outbox.ErrPending) {
		p.t.Fatal(err)
	}
}

// dead returns the dead events.
func (p *place) dead() (items []sender.Item) {
	p.t.Helper()
	for it, err := range p.b.Dead() {
		if err != nil {
			p.t.Fatal(err)
		}
		items = append(items, it)
	}
	return items
}

func (p *place) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.m.ServeHTTP(w, r)
	return w
}

func (p *place) get(query string) *httptest.ResponseRecorder {
	return p.do(httptest.NewRequest("GET", "/any/where"+query, nil))
}

// json gets a document.
func (p *place) json(query string) map[string]any {
	p.t.Helper()
	r := httptest.NewRequest("GET", "/any/where"+query, nil)
	r.Header.Set("Accept", "application/json")
	return decode(p.t, p.do(r), 200)
}

func decode(t testing.TB, w *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != status || doc["v"] != 1.0 {
		t.Fatalf("%d, want %d: %v: %s", w.Code, status, err, w.Body)
	}
	return doc
}

// form posts fields as a browser does.
func (p *place) form(query string, fields ...string) *httptest.ResponseRecorder {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest("POST", "/any/where"+query, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return p.do(r)
}

// post sends a document as a program does.
func (p *place) post(query, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/any/where"+query, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return p.do(r)
}

func named(it sender.Item) string { return fmt.Sprintf("%d.%s", it.Seq, it.ID) }

func ref(it sender.Item) string { return fmt.Sprintf(`{"at":%d,"id":%q}`, it.Seq, it.ID) }

// holds fails unless text has each part.
func holds(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}

func lacks(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%q in:\n%s", part, text)
		}
	}
}
