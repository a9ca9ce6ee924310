package monitor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// hostile is text that would do something to a page that does not escape it.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'><svg/onload=alert(1)>`, `javascript:alert(1)`, `</textarea><script>x</script>`, `{{.Lane}}`,
	"\x1b[31mred\x1b[0m", "nul\x00nul", "\u202egnp.exe", "line\u2028line\r\ndata: x", "\xff\xfe", `&lt;b&gt;&`, "?lane=x&do=drop#y", strings.Repeat("<b>", 330),
}

// Text from outside is never markup, wherever it is shown.
func TestHostileText(t *testing.T) {
	t.Parallel()
	for i, text := range hostile {
		p := newPlace(t, nil)
		if _, err := p.b.Put(t.Context(), outbox.Event{Kind: "hostile/" + text, Key: text, Payload: []byte(text), Header: map[string]string{text: text}}); err != nil {
			t.Fatal(err)
		}
		p.put()
		p.b.Pause(t.Context(), sender.Pause{By: cutTo(text, 64), Reason: cutTo(text, 200)})
		m, err := monitor.New(map[string]*outbox.Outbox{text: p.b}, &monitor.Options{Allow: func(*http.Request, string) monitor.Access { a := all; a.Name = text; return a }})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		p.m = m
		lane := "?lane=" + url.QueryEscape(text)
		dead := p.dead()
		if len(dead) != 1 {
			t.Fatalf("%d dead", len(dead))
		}
		q := url.QueryEscape(text)
		pages := map[string]*httptest.ResponseRecorder{
			"overview": p.get(""), "lane": p.get(lane), "item": p.get(fmt.Sprintf("%s&item=%s&at=%d", lane, dead[0].ID, dead[0].Seq)),
			"search": p.get(lane + "&list=dead&key=" + q + "&kind=" + q + "&id=" + q), "no lane": p.get("?lane=x" + q), "no list": p.get(lane + "&list=" + q),
			"no cursor": p.get(lane + "&list=dead&after=" + q), "no item": p.get(lane + "&item=" + q), "ask": p.form(lane+"&do=drop&list=dead", "all", "1", "key", text), "no action": p.form(lane + "&do=" + q),
			"pause": p.form(lane+"&do=pause", "reason", text+strings.Repeat("x", 200)), "notice": p.get(lane + "&did=revive&n=1&over=" + q + "&more=" + q),
		}
		for name, w := range pages {
			body := w.Body.String()
			if !strings.Contains(body, "</html>") || strings.Contains(body, "ZgotmplZ") {
				t.Errorf("%d: the %s is %d: %s", i, name, w.Code, body)
			}
			lacks(t, body, "<script>alert", "<img src=x", "<svg/onload", "<script>x", `href="javascript`, `"><img`, "<b><b>")
			for _, r := range values.ReplaceAllString(body, "") { // the fields of a form are as they are
				if r < ' ' && r != '\n' && r != '\t' || r == '\u202e' || r == '\u2028' {
					t.Errorf("%d: the %s has %q", i, name, r)
				}
			}
			if strings.Count(body, "<script") != 1 || strings.Contains(body, " style=") || strings.Contains(body, " onerror=alert(1)>") {
				t.Errorf("%d: the %s has markup from outside: %s", i, name, body)
			}
		}
		if w := pages["item"]; w.Code != 200 {
			t.Errorf("%d: the item is %d: %s", i, w.Code, w.Body)
		}
	}
}

var values = regexp.MustCompile(`value="[^"]*"`)

func cutTo(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// Reading changes nothing.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused", "later", "fine")
	p.b.Pause(t.Context(), sender.Pause{})
	it := p.dead()[0]
	before, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"", "?lane=track", "?lane=track&format=json", "?lane=track&list=scheduled&key=c*", fmt.Sprintf("?lane=track&item=%s&at=%d", it.ID, it.Seq), fmt.Sprintf("?lane=track&item=%s", it.ID),
		"?lane=track&export=dead", "?asset=style.css", "?lane=track&do=drop&all=1&list=dead&sure=1", "?lane=track&do=pause", "?lane=track&do=resume&sure=1", "?lane=track&do=compact&sure=1"} {
		if w := p.get(query); w.Code != 200 {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	after, err := os.ReadFile(p.path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file changed: %v", err)
	}
}

// Whatever a query says, the answer is a page or a document, and no failure of the server.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"lane=track", "lane=track&list=dead&key=a*&limit=3", "lane=track&list=ready&after=ro00", "lane=track&item=0199d25f-03d8-7c11-9f42-5f0c2b7f9a10&at=1",
		"lane=track&export=dead", "asset=style.css&h=0", "lane=track&did=revive&n=-1&more=x", "%zz=&;", "format=json&lane=\x00", "lane=track&list=in-line&newest=1&after=ln0000000000000001"} {
		f.Add(seed)
	}
	p := newPlace(f, nil)
	p.put("refused", "later")
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "live") {
			return
		}
		r := httptest.NewRequest("GET", "/x", nil)
		r.URL.RawQuery = query
		w := p.do(r)
		if w.Code >= 500 || w.Body.Len() == 0 && w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%q: %d: %s", query, w.Code, w.Body)
		}
		lacks(t, w.Body.String(), "ZgotmplZ")
	})
}
