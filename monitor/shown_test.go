package monitor_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
)

// No answer tells where the file is, or what the file calls the lane.
func TestRefusalsKeepThePath(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	long := strings.Repeat("x", 201)
	for name, body := range map[string]string{
		"an event that is gone":      p.get("?lane=track&item=0199d25f-03d8-7c11-9f42-5f0c2b7f9a10&at=9").Body.String(),
		"a cursor":                   p.get("?lane=track&list=ready&after=nonsense").Body.String(),
		"a cursor, as JSON":          p.get("?lane=track&list=ready&after=nonsense&format=json").Body.String(),
		"a long reason":              p.form("?lane=track&do=pause", "reason", long).Body.String(),
		"a long reason, as JSON":     p.post("?lane=track", fmt.Sprintf(`{"do":"pause","reason":%q}`, long)).Body.String(),
		"an edit of what is no more": p.post("?lane=track", `{"do":"edit","items":[{"at":9,"id":"0199d25f-03d8-7c11-9f42-5f0c2b7f9a10"}],"payload":"eA=="}`).Body.String(),
	} {
		t.Run(name, func(t *testing.T) {
			lacks(t, body, filepath.Dir(p.path), `lane "outbox"`, "lane &#34;outbox")
		})
	}
}

// Events that were put together can be told from each other in a list.
func TestEventsHaveNames(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	var es []outbox.Event
	for range 30 {
		es = append(es, outbox.Event{Kind: "later", NotBefore: time.Now().Add(time.Hour), Payload: []byte("x")})
	}
	if _, err := p.b.PutAll(t.Context(), es...); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, label := range regexp.MustCompile(`aria-label="Choose ([^"]*)"`).FindAllStringSubmatch(p.get("?lane=track&list=scheduled").Body.String(), -1) {
		seen[label[1]] = true
	}
	if len(seen) != len(es) {
		t.Errorf("%d names for %d events: %v", len(seen), len(es), seen)
	}
}

// An event behind another of its key names that, and then why it failed.
func TestInLineNamesTheFirst(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	ids, err := p.b.PutAll(t.Context(), outbox.Event{Kind: "fails", Key: "a", Payload: []byte("x")}, outbox.Event{Kind: "fine", Key: "a", Payload: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	p.put() // until the first was tried
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(p.get("?lane=track&item="+ids[1].String()).Body.String(), "")
	holds(t, text, fmt.Sprintf("Events of one key go one at a time. First is %s, which failed: 503 Service Unavailable. If it is not wanted", ids[0].String()[:18]))
}

// The list of what is ready has what is in line too, and counts it.
func TestListCountsWhatItHas(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	if _, err := p.b.PutAll(t.Context(), outbox.Event{Kind: "fails", Key: "a", Payload: []byte("x")}, outbox.Event{Key: "a", Payload: []byte("x")}, outbox.Event{Key: "a", Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	p.put() // until the first was tried
	l := p.json("?lane=track&list=ready")
	if n := len(l["items"].([]any)); l["of"] != 2.0 || n != 2 {
		t.Errorf("of %v, %d items", l["of"], n)
	}
	holds(t, p.get("?lane=track&list=ready").Body.String(), "2 events, with those in line and in flight")
	if l := p.json("?lane=track&list=in-line"); l["of"] != 2.0 {
		t.Errorf("of %v in line", l["of"])
	}
}

// A request that names what is not there is told what is, except lanes that it may not read.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	m, err := monitor.New(map[string]*outbox.Outbox{"hidden": p.b, "mail": p.b, "track": p.b}, &monitor.Options{Allow: func(_ *http.Request, lane string) monitor.Access {
		if lane == "hidden" {
			return monitor.Access{}
		}
		return all
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p.m = m
	for _, c := range []struct {
		w    *httptest.ResponseRecorder
		want string
	}{
		{p.get("?lane=trak&format=json"), "there is no lane \\\"trak\\\"; those that you may read: mail, track\""},
		{p.get("?lane=track&list=alive&format=json"), "there is no list \\\"alive\\\"; the lists are ready, in-flight, in-line, retrying, scheduled, dead\""},
		{p.post("?lane=track", `{"do":"stop"}`), "do is \\\"stop\\\", which is none of the actions check, clear-throttle, compact, "},
	} {
		holds(t, c.w.Body.String(), c.want)
		lacks(t, c.w.Body.String(), "hidden")
	}
}
