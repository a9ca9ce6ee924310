package browsertest

import (
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

// A form on a page of another site has nothing done, also where the person may do it.
func TestForeignForm(t *testing.T) {
	p := newPlace(t, "track")
	p.answer("track", strict)
	p.put("track", event(1, ""))
	p.until("track", func(s outbox.Stats) bool { return s.Dead == 1 })
	it := p.deadOf("track")[0]
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		template.Must(template.New("").Parse(`<main><form method="post" action="{{.URL}}?lane=track&do=drop"><input name="at" value="{{.At}}"><input name="sure" value="1"><button>Win</button></form></main>`)).
			Execute(w, map[string]string{"URL": p.url, "At": fmt.Sprintf("%d.%s", it.Seq, it.ID)})
	}))
	t.Cleanup(attacker.Close)

	// Another port is the same site and another origin; another name is another site.
	for name, url := range map[string]string{"another port": attacker.URL, "another site": strings.Replace(attacker.URL, "127.0.0.1", "localhost", 1)} {
		t.Run(name, func(t *testing.T) {
			page := newTab(t, true)
			page.to(url)
			if status := page.follow("Win"); status != 403 {
				t.Errorf("status %d, want 403", status)
			}
			if s := p.lanes["track"].Stats(); s.Dead != 1 || s.Dropped != 0 {
				t.Errorf("%+v", s)
			}
		})
	}

	// The same form on the page itself works: what was refused was where it came from.
	page := newTab(t, true)
	page.to(p.query(fmt.Sprintf("lane=track&item=%s&at=%d", it.ID, it.Seq)))
	page.press("Drop…")
	page.follow("Drop this event")
	page.reads("1 event was dropped.")
	if s := p.lanes["track"].Stats(); s.Dead != 0 || s.Dropped != 1 {
		t.Errorf("%+v", s)
	}
}

// Nobody can show a page inside one of theirs, to have the reader press what is not seen.
func TestFrame(t *testing.T) {
	p := newPlace(t, "track")
	around := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<iframe src=%q></iframe>`, p.url)
	}))
	t.Cleanup(around.Close)
	page := newRawTab(t)
	page.to(around.URL)
	if v := page.violated(); len(v) != 1 || !strings.Contains(v[0], "frame-ancestors") {
		t.Errorf("violated: %q, want frame-ancestors", v)
	}
}

// Who may not act has no button, and is refused without it. Who may not read payloads gets none.
func TestNotAllowed(t *testing.T) {
	p := newPlace(t, "track")
	p.answer("track", strict)
	p.put("track", event(1, ""))
	p.until("track", func(s outbox.Stats) bool { return s.Dead == 1 })
	it := p.deadOf("track")[0]
	p.allow(monitor.Access{Name: "guest", Read: true})
	page := newTab(t, true)
	page.to(p.query(fmt.Sprintf("lane=track&item=%s&at=%d", it.ID, it.Seq)))
	page.reads("guest", "customer-1", "You may not read payloads here")
	if html := eval[string](page, `document.documentElement.outerHTML`); strings.Contains(html, `<form method="post"`) || strings.Contains(html, "0af7651916cd") {
		t.Errorf("a button or a payload: %s", html)
	}
	for _, do := range []string{"revive", "drop", "run-now", "edit", "pause", "resume", "clear-throttle", "compact"} {
		status := eval[int](page, fmt.Sprintf(`fetch("?lane=track&do=%s", {method: "POST", body: new URLSearchParams({at: "%d.%s", list: "dead", key: "customer-1", sure: 1})}).then(r => r.status)`, do, it.Seq, it.ID))
		if status != 403 {
			t.Errorf("%s: status %d, want 403", do, status)
		}
	}
	if s := p.lanes["track"].Stats(); s.Dead != 1 || s.OperatorPause.By != "" {
		t.Errorf("%+v", s)
	}

	p.allow(monitor.Access{})
	if status := page.to(p.url); status != 403 {
		t.Errorf("status %d for nobody, want 403", status)
	}
}
