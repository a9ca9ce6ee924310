package monitor_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/internal/campaign"
	"github.com/seed8107221f/outbox/limiter"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// keys returns the names in a document, sorted.
func keys(doc any) string {
	var names []string
	for name := range doc.(map[string]any) {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// The documents have the fields that programs are promised.
func TestDocuments(t *testing.T) {
	t.Parallel()
	p := newPlaceOver(t, nil, &outbox.Options{Limiter: &limiter.Limiter{PerSecond: 1000, Burst: 10}})
	p.put("fine", "refused", "later")
	p.put("down")
	o := p.json("")
	lane := o["lanes"].([]any)[0].(map[string]any)
	if keys(o) != "file lanes now v" || keys(o["file"]) != "bytes name" || o["file"].(map[string]any)["name"] != "events.db" {
		t.Error(keys(o), o["file"])
	}
	if got := keys(lane); got != "abandoned bytes concurrency dead dead_bytes held in_flight in_line ledger limit name oldest pending rate ready requests_per_second retrying scheduled seconds_left state you" {
		t.Error(got)
	}
	held := lane["held"].(map[string]any)
	if lane["state"] != "held" || held["by"] != "destination" || held["error"] != "POST example.com/batch: 401" || lane["dead"] != 1.0 || lane["scheduled"] != 1.0 || lane["limit"] != 1000.0 {
		t.Error(lane)
	}
	if l := lane["ledger"].(map[string]any); keys(l) != "delivered dropped expired put" || l["put"] != 4.0 || l["delivered"] != 1.0 {
		t.Error(l)
	}
	if y := lane["you"].(map[string]any); keys(y) != "act name payload" || y["name"] != "oncall" || y["act"] != true {
		t.Error(y)
	}
	var text map[string]any
	if err := json.Unmarshal([]byte(p.m.String()), &text); err != nil || keys(text) != keys(o) {
		t.Error(err, text)
	}

	d := p.json("?lane=track")
	for _, name := range []string{"series", "episodes", "errors"} {
		if d[name] == nil {
			t.Error("no ", name)
		}
	}
	if s := d["series"].(map[string]any); keys(s) != "delivered failed from started step" || len(s["started"].([]any)) != 180 || s["step"] != 5.0 {
		t.Error(s)
	}
	if e := d["episodes"].([]any)[0].(map[string]any); e["state"] != "held" || e["from"] == nil || e["to"] != nil {
		t.Error(e)
	}
	if e := d["errors"].([]any)[0].(map[string]any); keys(e) != "at count error id last" || e["error"] != "POST example.com/batch: 401" || e["count"].(float64) < 1 {
		t.Error(e)
	}

	l := p.json("?lane=track&list=dead")
	if keys(l) != "items lane list looked next of v" || l["of"] != 1.0 || l["looked"] != 1.0 || l["next"] != "" || l["list"] != "dead" {
		t.Error(l)
	}
	e := l["items"].([]any)[0].(map[string]any)
	if got := keys(e); got != "at attempts bytes created failed failures headers id key kind last_error state" {
		t.Error(got)
	}
	if e["bytes"] != 20.0 || e["last_error"] != "400, the name is empty" || e["headers"].([]any)[0] != "traceparent" {
		t.Error(e)
	}

	query := fmt.Sprintf("?lane=track&item=%s&at=%.0f", e["id"], e["at"])
	it := p.json(query)
	payload, _ := base64.StdEncoding.DecodeString(it["payload"].(string))
	if it["header"].(map[string]any)["traceparent"] != "secret-value" || string(payload) != `{"secret":"payload"}` || it["reasons"].([]any)[0].(map[string]any)["code"] != "dead" {
		t.Error(it)
	}
	p.may.Payload = false
	if it := p.json(query); it["payload"] != nil || it["header"] != nil || it["headers"].([]any)[0] != "traceparent" {
		t.Error(it)
	}
}

// A list is searched by key, kind and ID, in either direction, page by page.
func TestList(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.b.Pause(t.Context(), sender.Pause{})
	ids := make([]string, 0, 120)
	for i := range 120 {
		id, err := p.b.Put(t.Context(), outbox.Event{Kind: fmt.Sprint("kind-", i%2), Key: fmt.Sprint("customer-", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	list := func(query string) (got []string, doc map[string]any) {
		doc = p.json("?lane=track&list=ready" + query)
		for _, e := range doc["items"].([]any) {
			got = append(got, e.(map[string]any)["id"].(string))
		}
		return got, doc
	}
	var walked []string
	for after, pages := "", 0; ; pages++ {
		got, doc := list("&after=" + after)
		walked = append(walked, got...)
		if after = doc["next"].(string); after == "" {
			if pages != 2 {
				t.Error(pages+1, "pages")
			}
			break
		}
	}
	if !slices.Equal(walked, ids) {
		t.Error("the pages are not the list")
	}
	if got, _ := list("&newest=1&limit=2"); !slices.Equal(got, []string{ids[119], ids[118]}) {
		t.Error(got)
	}
	for query, want := range map[string]int{"&key=customer-7": 1, "&key=customer-1*&limit=1000": 31, "&kind=kind-1&limit=100": 60, "&kind=kind-1&key=customer-2": 0, "&id=" + ids[5]: 1, "&id=" + strings.ToUpper(ids[5]): 1, "&key=*&limit=1": 1} {
		if got, _ := list(query); len(got) != want {
			t.Errorf("%s: %d, want %d", query, len(got), want)
		}
	}
	holds(t, p.get("?lane=track&list=ready&key=customer-1*").Body.String(), "All 120 were looked at.", "customer-119")
	holds(t, p.get("?lane=track&list=ready&key=nobody").Body.String(), "No event matches.")
	holds(t, p.get("?lane=track&list=dead").Body.String(), "No event is dead.")
}

// The page of an event says why it waits.
func TestWhy(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	for range 2 {
		if _, err := p.b.Put(t.Context(), outbox.Event{Kind: "fails", Key: "one"}); err != nil {
			t.Fatal(err)
		}
	}
	p.put("later")
	page := func(list string) string {
		e := p.json("?lane=track&list=" + list)["items"].([]any)[0].(map[string]any)
		return p.get(fmt.Sprintf("?lane=track&item=%s&at=%.0f", e["id"], e["at"])).Body.String()
	}
	holds(t, page("scheduled"), "Why does it wait?", "Its time has not come", "in 1 h", "Never tried")
	holds(t, page("in-line"), "Its time has come", "Behind an earlier event of its key", "503 Service Unavailable", "drop it and the next has its turn")
	holds(t, page("retrying"), "It failed, and waits for its next try", "Make it due now", "503 Service Unavailable")
}

// A payload is shown as what it is.
func TestPayload(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	for payload, want := range map[string]string{`{"a":1}`: "{\n  &#34;a&#34;: 1\n}", "plain text": "plain text", "\x00\x01bin": "00000000  00 01 62 69 6e", "": "It is empty.", strings.Repeat("long ", 20000): "The rest is not shown."} {
		id, err := p.b.Put(t.Context(), outbox.Event{Kind: "x", Payload: []byte(payload), NotBefore: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		body := p.get("?lane=track&item=" + id.String()).Body.String()
		if !strings.Contains(body, want) || len(body) > 80<<10 {
			t.Errorf("no %q, %d bytes", want, len(body))
		}
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.b.Pause(t.Context(), sender.Pause{})
	for i := range 250 {
		if _, err := p.b.Put(t.Context(), outbox.Event{Kind: "k", Key: fmt.Sprint("customer-", i), Payload: []byte("p"), Header: map[string]string{"h": "v"}}); err != nil {
			t.Fatal(err)
		}
	}
	w := p.get("?lane=track&export=ready")
	if w.Header().Get("Content-Type") != "application/x-ndjson" || w.Header().Get("Content-Disposition") != `attachment; filename=track-ready.ndjson` {
		t.Error(w.Header())
	}
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 250 {
		t.Fatal(len(lines), "lines")
	}
	var e map[string]any
	if err := json.Unmarshal([]byte(lines[249]), &e); err != nil || e["key"] != "customer-249" || e["payload"] != "cA==" || e["header"].(map[string]any)["h"] != "v" {
		t.Error(err, e)
	}
	if got := p.get("?lane=track&export=ready&key=customer-1*").Body.String(); strings.Count(got, "\n") != 111 {
		t.Error(strings.Count(got, "\n"), "lines")
	}
}

// An export that is broken off does not look like one that has ended.
func TestExportBrokenOff(t *testing.T) {
	t.Parallel()
	asked := 0
	p := newPlace(t, &monitor.Options{Allow: func(*http.Request, string) monitor.Access {
		asked++
		return monitor.Access{Read: true, Payload: asked < 3}
	}})
	p.b.Pause(t.Context(), sender.Pause{})
	for range 250 {
		if _, err := p.b.Put(t.Context(), outbox.Event{Kind: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if r := recover(); r != http.ErrAbortHandler || asked != 3 {
			t.Errorf("%v after %d", r, asked)
		}
	}()
	p.get("?lane=track&export=ready")
}

// With nothing, with a little and with very much in the lane the pages are small and fast.
func TestSizes(t *testing.T) {
	t.Parallel()
	counts := []int{0, 10}
	if campaign.Long() {
		counts = append(counts, 1_000_000)
	}
	for _, n := range counts {
		p := newPlace(t, nil)
		p.b.Pause(t.Context(), sender.Pause{})
		for left := n; left > 0; {
			es := make([]outbox.Event, min(left, 10_000))
			for i := range es {
				es[i] = outbox.Event{Kind: "identify", Key: fmt.Sprint("customer-", left-i), Payload: []byte("{}")}
			}
			if _, err := p.b.PutAll(t.Context(), es...); err != nil {
				t.Fatal(err)
			}
			left -= len(es)
		}
		for _, query := range []string{"", "?lane=track", "?lane=track&list=ready&newest=1", "?lane=track&list=ready&key=nobody", "?lane=track&format=json"} {
			start := time.Now()
			w := p.get(query)
			t.Logf("%d pending, %q: %d bytes, %v", n, query, w.Body.Len(), time.Since(start))
			if w.Code != 200 || w.Body.Len() > 60<<10 {
				t.Errorf("%d pending, %q: %d, %d bytes", n, query, w.Code, w.Body.Len())
			}
		}
		if n > 0 {
			if a := p.json("?lane=track")["ages"].(map[string]any); a["of"] != float64(n) || a["sample"] != float64(min(n, 1000)) {
				t.Error(a["sample"], a["of"])
			}
		}
		if n > 10_000 {
			holds(t, p.get("?lane=track&list=ready&key=nobody").Body.String(), " of 1,000,000.", "Go on")
		}
	}
}

// The assets are kept for a year by the address that pages have, and no longer by another.
func TestAssets(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	page := p.get("").Body.String()
	for _, name := range []string{"style.css", "script.js"} {
		_, rest, ok := strings.Cut(page, `="?asset=`+name)
		if !ok {
			t.Fatalf("no %s in %s", name, page)
		}
		hash, _, _ := strings.Cut(rest, `"`)
		w := p.get("?asset=" + name + strings.ReplaceAll(hash, "&amp;", "&"))
		if w.Code != 200 || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		if w := p.get("?asset=" + name + "&h=old"); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	if n := p.get("?asset=script.js").Body.Len(); n >= 4<<10 {
		t.Errorf("the script has %d bytes", n)
	}
	lacks(t, p.get("?asset=style.css").Body.String(), "http:", "https:", "@import", "url(")
}

// away is a limiter that tells how it works.
type away struct{ *limiter.Limiter }

func (away) Mode() string { return "away" }

// A limiter that is shared with others says how it works, in the document and on the page.
func TestLimiterMode(t *testing.T) {
	t.Parallel()
	p := newPlaceOver(t, nil, &outbox.Options{Limiter: away{limiter.Within(100, time.Second)}})
	if got := p.json("?lane=track")["limiter_mode"]; got != "away" {
		t.Errorf("the document says %v", got)
	}
	holds(t, p.get("?lane=track").Body.String(), "Limiter", "away", "allows 90 a second now")
}
