package monitor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

// Every route says no to whoever lacks the right, as a page and as JSON, and the right status to who
// has it.
func TestRights(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused", "later")
	it := p.dead()[0]
	item := fmt.Sprintf("?lane=track&item=%s&at=%d", it.ID, it.Seq)
	gone := `{"do":%q,"items":[{"at":99,"id":"0199d25f-03d8-7c11-9f42-5f0c2b7f9a10"}]}`
	rights := []monitor.Access{{}, {Read: true}, {Read: true, Payload: true}, {Read: true, Act: true}, all, {Payload: true, Act: true}}
	for _, c := range []struct {
		query, body string
		want        [6]int
	}{
		{"", "", [6]int{403, 200, 200, 200, 200, 403}},
		{"?lane=track", "", [6]int{403, 200, 200, 200, 200, 403}},
		{"?lane=none", "", [6]int{403, 404, 404, 404, 404, 403}},
		{"?lane=track&list=dead", "", [6]int{403, 200, 200, 200, 200, 403}},
		{"?lane=track&list=nowhere", "", [6]int{403, 400, 400, 400, 400, 403}},
		{"?lane=track&list=dead&limit=0", "", [6]int{403, 400, 400, 400, 400, 403}},
		{"?lane=track&list=dead&after=zz", "", [6]int{403, 400, 400, 400, 400, 403}},
		{"?list=dead", "", [6]int{403, 400, 400, 400, 400, 403}},
		{item, "", [6]int{403, 200, 200, 200, 200, 403}},
		{"?lane=track&item=x", "", [6]int{403, 400, 400, 400, 400, 403}},
		{"?lane=track&item=0199d25f-03d8-7c11-9f42-5f0c2b7f9a10", "", [6]int{403, 404, 404, 404, 404, 403}},
		{"?lane=track&export=dead", "", [6]int{403, 403, 200, 403, 200, 403}},
		{"?lane=track&export=nowhere", "", [6]int{403, 403, 400, 403, 400, 403}},
		{"?asset=style.css", "", [6]int{200, 200, 200, 200, 200, 200}},
		{"?asset=../monitor.go", "", [6]int{404, 404, 404, 404, 404, 404}},
		{"?lane=track", fmt.Sprintf(gone, "revive"), [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", fmt.Sprintf(gone, "drop"), [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", fmt.Sprintf(gone, "run-now"), [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", fmt.Sprintf(gone, "edit"), [6]int{403, 403, 403, 403, 409, 403}},
		{"?lane=track", `{"do":"pause"}`, [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", `{"do":"resume"}`, [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", `{"do":"compact"}`, [6]int{403, 403, 403, 200, 200, 403}},
		{"?lane=track", `{"do":"clear-throttle"}`, [6]int{403, 403, 403, 403, 200, 403}},
		{"?lane=track", `{"do":"erase","key":"nobody"}`, [6]int{403, 403, 403, 403, 200, 403}},
		{"?lane=track", `{"do":"explode"}`, [6]int{403, 400, 400, 400, 400, 403}},
		{"?lane=track", `{"do":"revive"}`, [6]int{403, 400, 400, 400, 400, 403}},
		{"?lane=track", `{"do":`, [6]int{403, 400, 400, 400, 400, 403}},
		{"", `{"do":"pause"}`, [6]int{403, 400, 400, 400, 400, 403}},
	} {
		for i, may := range rights {
			p.may = may
			for _, accept := range []string{"text/html", "application/json"} {
				r := httptest.NewRequest("GET", "/x"+c.query, nil)
				if c.body != "" {
					r = httptest.NewRequest("POST", "/x"+c.query, strings.NewReader(c.body))
					r.Header.Set("Content-Type", "application/json")
				}
				r.Header.Set("Accept", accept)
				w := p.do(r)
				if w.Code != c.want[i] {
					t.Errorf("%s %s %s as %+v: %d, want %d: %s", r.Method, c.query, c.body, may, w.Code, c.want[i], w.Body)
				}
				if w.Header().Get("Outbox-Monitor") != "1" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
					t.Errorf("%s: the header is %v", c.query, w.Header())
				}
				text := w.Body.String()
				if !may.Payload && (strings.Contains(text, "secret") || strings.Contains(text, "c2VjcmV0")) {
					t.Errorf("%s as %+v shows a payload: %s", c.query, may, text)
				}
				if w.Code >= 400 && (accept == "application/json" || c.body != "") && !strings.Contains(text, `"error":{"code":"`) {
					t.Errorf("%s: no code in %s", c.query, text)
				}
			}
		}
	}
}

// Who reaches the handler may read, and nothing else, unless the application says more.
func TestDefaultAccess(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused")
	m, err := monitor.New(map[string]*outbox.Outbox{"track": p.b}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p.m = m
	page := p.get("?lane=track").Body.String()
	holds(t, page, "read only", "customer-0", "400, the name is empty")
	lacks(t, page, "<button class", "method=\"post\"")
	if w := p.post("?lane=track", `{"do":"pause"}`); w.Code != 403 {
		t.Error(w.Code, w.Body)
	}
	it := p.dead()[0]
	page = p.get(fmt.Sprintf("?lane=track&item=%s&at=%d", it.ID, it.Seq)).Body.String()
	holds(t, page, "Hidden.", "traceparent")
	lacks(t, page, "secret", "method=\"post\"")
}

// A lane that somebody may not read is not in the overview, and neither is its name.
func TestAccessByLane(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	m, err := monitor.New(map[string]*outbox.Outbox{"mine": p.b, "theirs": p.b}, &monitor.Options{
		Allow: func(_ *http.Request, lane string) monitor.Access { return monitor.Access{Read: lane != "theirs"} }})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p.m = m
	for _, text := range []string{p.get("").Body.String(), p.get("?format=json").Body.String()} {
		holds(t, text, "mine")
		lacks(t, text, "theirs")
	}
	if w := p.get("?lane=theirs"); w.Code != 403 {
		t.Error(w.Code)
	}
	holds(t, m.String(), "mine", "theirs")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	for _, c := range []struct {
		lanes   map[string]*outbox.Outbox
		options *monitor.Options
	}{
		{nil, nil},
		{map[string]*outbox.Outbox{"a": nil}, nil},
		{map[string]*outbox.Outbox{"": p.b}, nil},
		{map[string]*outbox.Outbox{"a": p.b}, &monitor.Options{Origins: []string{"ops.example.com"}}},
	} {
		if m, err := monitor.New(c.lanes, c.options); err == nil || m != nil || !strings.HasPrefix(err.Error(), "monitor: ") {
			t.Errorf("%v %v: %v", c.lanes, c.options, err)
		}
	}
}

// Only the hosts that are named are answered to, with any port.
func TestHosts(t *testing.T) {
	t.Parallel()
	p := newPlace(t, &monitor.Options{Hosts: []string{"ops.example.com", "::1"}})
	for host, want := range map[string]int{"ops.example.com": 200, "OPS.example.com:8080": 200, "[::1]:80": 200, "[::1]": 200, "evil.example": 403, "ops.example.com.evil.example": 403, "": 403} {
		r := httptest.NewRequest("GET", "/?format=json", nil)
		r.Host = host
		if w := p.do(r); w.Code != want || want == 403 && !strings.Contains(w.Body.String(), `"wrong_host"`) {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
}

// A page of another site cannot act; our own pages, those of the origins that are named, and programs
// can.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	p := newPlace(t, &monitor.Options{Origins: []string{"https://ops.example.com"}})
	for _, c := range []struct {
		origin, site string
		want         int
	}{
		{"", "", 303}, {"", "same-origin", 303}, {"http://example.com", "", 303}, {"https://ops.example.com", "cross-site", 303},
		{"", "cross-site", 403}, {"", "same-site", 403}, {"https://evil.example", "", 403}, {"null", "", 403},
	} {
		r := httptest.NewRequest("POST", "http://example.com/?lane=track", strings.NewReader("do=resume"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if w := p.do(r); w.Code != c.want {
			t.Errorf("%+v: %d: %s", c, w.Code, w.Body)
		}
	}
}

func TestMethodsAndBodies(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	for _, c := range []struct {
		method, kind string
		size, want   int
		code         string
	}{
		{"PUT", "", 0, 405, "bad_request"}, {"DELETE", "", 0, 405, "bad_request"},
		{"POST", "text/plain", 2, 415, "bad_request"}, {"POST", "multipart/form-data; boundary=x", 2, 415, "bad_request"}, {"POST", "", 2, 415, "bad_request"},
		{"POST", "application/json", 9 << 20, 413, "too_large"}, {"POST", "application/x-www-form-urlencoded", 9 << 20, 413, "too_large"},
	} {
		body := `{"do":"pause","reason":"` + strings.Repeat("x", c.size) + `"}`
		r := httptest.NewRequest(c.method, "/?lane=track&format=json", strings.NewReader(body))
		r.Header.Set("Content-Type", c.kind)
		w := p.do(r)
		if w.Code != c.want {
			t.Errorf("%+v: %d: %s", c, w.Code, w.Body)
		}
		holds(t, w.Body.String(), `"code":"`+c.code+`"`)
	}
	if w := p.do(httptest.NewRequest("HEAD", "/", nil)); w.Code != 200 {
		t.Error(w.Code)
	}
}
