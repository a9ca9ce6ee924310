package monitor_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// location checks that an action answered with the way to a page, which does not name the path.
func location(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	to := w.Header().Get("Location")
	if w.Code != 303 || !strings.HasPrefix(to, "?lane=track") {
		t.Fatalf("%d to %q: %s", w.Code, to, w.Body)
	}
	return to
}

// One event is revived by one press. Many are asked about first, and nothing is done until then.
func TestRevive(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused", "refused", "refused")
	p.b.Pause(t.Context(), sender.Pause{}) // what is revived stays
	dead := p.dead()
	to := location(t, p.form("?lane=track&do=revive", "at", named(dead[0]), "list", "dead"))
	holds(t, p.get(to).Body.String(), "1 event was revived.")
	w := p.form("?lane=track", "do", "revive", "list", "dead", "at", named(dead[1]), "at", named(dead[2]))
	if w.Code != 200 || len(p.dead()) != 2 {
		t.Fatalf("%d, %d dead", w.Code, len(p.dead()))
	}
	holds(t, w.Body.String(), "Revive 2 events of track?", `name="sure" value="1"`, named(dead[1]), named(dead[2]))
	to = location(t, p.form("?lane=track", "do", "revive", "list", "dead", "at", named(dead[1]), "at", named(dead[2]), "sure", "1"))
	holds(t, p.get(to).Body.String(), "2 events were revived.")
	if n := len(p.dead()); n != 0 {
		t.Error(n, "dead")
	}
	// The same again finds nothing.
	to = location(t, p.form("?lane=track&do=revive", "at", named(dead[0])))
	holds(t, p.get(to).Body.String(), "0 events were revived.", "1 event was passed over")
	doc := decode(t, p.post("?lane=track", fmt.Sprintf(`{"do":"revive","items":[%s]}`, ref(dead[0]))), 200)
	if doc["done"] != 0.0 || doc["passed_over"] != 1.0 {
		t.Error(doc)
	}
}

// All that match are acted on, at most as many as the limit, and next goes on.
func TestAll(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused/a", "refused/b", "refused/a", "refused/b")
	p.b.Pause(t.Context(), sender.Pause{})
	w := p.form("?lane=track", "do", "revive", "all", "1", "list", "dead", "kind", "refused/b")
	holds(t, w.Body.String(), "Revive 2 events of track?", `name="kind" value="refused/b"`)
	location(t, p.form("?lane=track", "do", "revive", "all", "1", "list", "dead", "kind", "refused/b", "sure", "1"))
	if n := len(p.dead()); n != 2 {
		t.Fatal(n, "dead")
	}
	doc := decode(t, p.post("?lane=track", `{"do":"revive","all":1,"list":"dead","kind":"refused/*","limit":1}`), 200)
	if doc["done"] != 1.0 || doc["next"] == "" {
		t.Fatal(doc)
	}
	doc = decode(t, p.post("?lane=track", fmt.Sprintf(`{"do":"drop","all":1,"list":"dead","after":%q}`, doc["next"])), 200)
	if doc["done"] != 1.0 || doc["next"] != "" || len(p.dead()) != 0 {
		t.Fatal(doc)
	}
}

// What is final is not done without being asked about.
func TestDrop(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused")
	it := p.dead()[0]
	holds(t, p.form("?lane=track&do=drop", "at", named(it)).Body.String(), "Drop 1 event of track?", "cannot be undone")
	if len(p.dead()) != 1 {
		t.Fatal("it was dropped")
	}
	// Another event at that place is not hit.
	other := it
	other.ID[3]++
	to := location(t, p.form("?lane=track&do=drop", "at", named(other), "sure", "1"))
	holds(t, p.get(to).Body.String(), "passed over")
	location(t, p.form("?lane=track&do=drop", "at", fmt.Sprint(it.Seq), "id", it.ID.String(), "sure", "1"))
	if s := p.b.Stats(); s.Dropped != 1 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("later")
	doc := p.json("?lane=track&list=scheduled")
	it := doc["items"].([]any)[0].(map[string]any)
	location(t, p.form("?lane=track&do=run-now", "at", fmt.Sprintf("%.0f.%s", it["at"], it["id"])))
	if err := p.b.Drain(t.Context()); err != nil || p.b.Stats().Delivered != 1 {
		t.Errorf("%v: %+v", err, p.b.Stats())
	}
}

// An edit replaces the payload, keeps ID, kind and key, and gives the lines the ends that they had.
func TestEdit(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused")
	p.b.Pause(t.Context(), sender.Pause{})
	it := p.dead()[0]
	if w := p.form("?lane=track&do=edit", "at", named(it), "payload", "x"); w.Code != 200 || !strings.Contains(w.Body.String(), "replaced for good") {
		t.Fatal(w.Code, w.Body)
	}
	location(t, p.form("?lane=track&do=edit", "at", named(it), "payload", "{\r\n\"a\": 1}\r\n", "sure", "1"))
	now := p.dead()[0]
	if string(now.Payload) != "{\n\"a\": 1}\n" || now.ID != it.ID || now.Header["traceparent"] != "secret-value" {
		t.Errorf("%q %v", now.Payload, now.Header)
	}
	body := base64.StdEncoding.EncodeToString([]byte("a\r\nb"))
	decode(t, p.post("?lane=track", fmt.Sprintf(`{"do":"edit","items":[%s],"payload":%q,"header":{"h":"v"}}`, ref(it), body)), 200)
	if now = p.dead()[0]; string(now.Payload) != "a\r\nb" || now.Header["h"] != "v" || len(now.Header) != 1 {
		t.Errorf("%q %v", now.Payload, now.Header)
	}
	to := location(t, p.form("?lane=track&do=edit", "at", named(it), "payload", "a\r\nc", "sure", "1", "revive", "1"))
	holds(t, p.get(to).Body.String(), "The event was edited and revived.")
	for it, err := range p.b.Pending() {
		if string(it.Payload) != "a\r\nc" || err != nil {
			t.Errorf("%q %v", it.Payload, err)
		}
	}
	// It is no longer dead.
	w := p.post("?lane=track", fmt.Sprintf(`{"do":"edit","items":[%s],"payload":""}`, ref(it)))
	if w.Code != 409 || !strings.Contains(w.Body.String(), `"changed"`) {
		t.Error(w.Code, w.Body)
	}
	if w := p.post("?lane=track", fmt.Sprintf(`{"do":"edit","items":[%s,%s]}`, ref(it), ref(it))); w.Code != 400 {
		t.Error(w.Code, w.Body)
	}
}

// Of two who edit the same event, the second overwrites nothing, and keeps what was typed.
func TestEditOfTwo(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused")
	p.b.Pause(t.Context(), sender.Pause{})
	it := p.dead()[0]
	page := fmt.Sprintf("?lane=track&item=%s&at=%d", it.ID, it.Seq)
	contents := func() string {
		t.Helper()
		text, _ := p.json(page)["contents"].(string)
		if len(text) != 32 {
			t.Fatalf("contents is %q", text)
		}
		holds(t, p.get(page).Body.String(), `name="was" value="`+text+`"`)
		return text
	}
	was := contents()
	body := func(text, was string) string {
		return fmt.Sprintf(`{"do":"edit","items":[%s],"payload":%q,"was":%q}`, ref(it), base64.StdEncoding.EncodeToString([]byte(text)), was)
	}
	decode(t, p.post("?lane=track", body("of ann", was)), 200)
	decode(t, p.post("?lane=track", body("of ann", was)), 200) // repeated, since its answer was lost
	w := p.form("?lane=track&do=edit", "at", named(it), "payload", "of <ben>", "was", was, "sure", "1", "revive", "1")
	if w.Code != 409 {
		t.Errorf("%d", w.Code)
	}
	holds(t, w.Body.String(), "It has changed since", "edited since it was read", "of &lt;ben&gt;</textarea>", fmt.Sprintf("item=%s", it.ID))
	w = p.post("?lane=track", body("of ben", was))
	if w.Code != 409 || !strings.Contains(w.Body.String(), `"changed"`) {
		t.Error(w.Code, w.Body)
	}
	if now := p.dead(); len(now) != 1 || string(now[0].Payload) != "of ann" {
		t.Fatalf("%+v", now)
	}
	// Who has read it again may.
	location(t, p.form("?lane=track&do=edit", "at", named(it), "payload", "of both", "was", contents(), "sure", "1", "revive", "1"))
	w = p.form("?lane=track&do=edit", "at", named(it), "payload", "of ann", "was", was, "sure", "1", "revive", "1")
	if w.Code != 409 {
		t.Errorf("%d", w.Code)
	}
	holds(t, w.Body.String(), "of ann</textarea>")
	for it, err := range p.b.Pending() {
		if string(it.Payload) != "of both" || err != nil {
			t.Errorf("%q %v", it.Payload, err)
		}
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	to := location(t, p.form("?lane=track&do=pause", "until", "1h", "reason", "nightly load first"))
	page := p.get(to).Body.String()
	holds(t, page, "The lane is paused.", "Paused by oncall: nightly load first", "Resume")
	s := p.b.Stats()
	if d := time.Until(s.OperatorPause.Until); s.OperatorPause.By != "oncall" || d < 59*time.Minute || d > time.Hour {
		t.Errorf("%+v", s.OperatorPause)
	}
	paused := p.json("")["lanes"].([]any)[0].(map[string]any)["paused"].(map[string]any)
	if paused["by"] != "oncall" || paused["reason"] != "nightly load first" {
		t.Error(paused)
	}
	holds(t, p.get(location(t, p.form("?lane=track&do=resume"))).Body.String(), "The lane is resumed.", "Idle: nothing is pending")
	if s := p.b.Stats(); s.OperatorPause.On(time.Now()) {
		t.Errorf("%+v", s.OperatorPause)
	}
	for _, bad := range []string{`"until":"soon"`, `"until":"2001-01-01T00:00:00Z"`, `"until":"-1h"`, `"reason":"` + strings.Repeat("x", 201) + `"`} {
		if w := p.post("?lane=track", `{"do":"pause",`+bad+`}`); w.Code != 400 && w.Code != 413 {
			t.Error(bad, w.Code, w.Body)
		}
	}
	// A form keeps what was typed, and says what is wrong with it.
	w := p.form("?lane=track&do=pause", "until", "1h", "reason", strings.Repeat("ä", 150))
	if w.Code != 400 {
		t.Error(w.Code)
	}
	holds(t, w.Body.String(), strings.Repeat("ä", 150), `aria-invalid="true"`, "at most 200")
}

func TestClearThrottle(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("slow")
	holds(t, p.get("?lane=track").Body.String(), "Throttled: the destination asked for a pause", "Clear the throttle…")
	if w := p.form("?lane=track&do=clear-throttle"); w.Code != 200 || p.b.Stats().PausedUntil.IsZero() {
		t.Fatal(w.Code)
	}
	location(t, p.form("?lane=track&do=clear-throttle", "sure", "1"))
	p.may.Payload = false
	lacks(t, p.get("?lane=track").Body.String(), "Clear the throttle…")
}

// An erase is for programs, as the command is: no page offers it, and a form does not do it.
func TestErase(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused", "refused")
	lacks(t, strings.ToLower(p.get("?lane=track").Body.String()), "erase")
	if w := p.form("?lane=track&do=erase", "key", "customer-1", "sure", "1"); w.Code != 400 || len(p.dead()) != 2 {
		t.Error(w.Code, p.dead())
	}
	if w := p.post("?lane=track", `{"do":"erase"}`); w.Code != 400 {
		t.Error("without a key: ", w.Code)
	}
	holds(t, p.post("?lane=track", `{"do":"erase","key":"customer-1"}`).Body.String(), `"done":1`)
	if len(p.dead()) != 1 || p.dead()[0].Key != "customer-0" {
		t.Error(p.dead())
	}
}

func TestCompact(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	holds(t, p.form("?lane=track&do=compact").Body.String(), "Compact the file?")
	holds(t, p.get(location(t, p.form("?lane=track&do=compact", "sure", "1"))).Body.String(), "The file is compacted.")
}

// What AtMostOnce left without an answer is not revived by one press.
func TestReviveOfUnknown(t *testing.T) {
	t.Parallel()
	o := &outbox.Options{}
	o.Sender.AtMostOnce = true
	p := newPlaceOver(t, nil, o)
	p.put("fails")
	it := p.dead()[0]
	holds(t, p.get(fmt.Sprintf("?lane=track&item=%s&at=%d", it.ID, it.Seq)).Body.String(), "It was sent, and nobody knows the answer")
	holds(t, p.form("?lane=track&do=revive", "at", named(it)).Body.String(), "may have arrived already")
	if len(p.dead()) != 1 {
		t.Error("it was revived")
	}
}

// Each action is one line of the log, with who and what, and without key or payload.
func TestLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	p := newPlace(t, &monitor.Options{Logger: slog.New(slog.NewTextHandler(&b, nil))})
	p.put("refused")
	it := p.dead()[0]
	p.form("?lane=track&do=drop", "at", named(it))
	if b.Len() > 0 {
		t.Error("asking is no action: ", b.String())
	}
	p.form("?lane=track&do=drop", "at", named(it), "sure", "1")
	p.post("?lane=track", `{"do":"erase","key":"customer-7"}`)
	p.may = monitor.Access{Name: "guest", Read: true}
	for range 3 {
		p.form("?lane=track&do=resume")
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), b.String())
	}
	holds(t, lines[0], `level=INFO msg="monitor: action" who=oncall do=drop lane=track count=1 ids=[`+it.ID.String()+`]`)
	holds(t, lines[1], "do=erase")
	holds(t, lines[2], `level=WARN msg="monitor: refused" who=guest code=not_allowed`)
	lacks(t, b.String(), "customer", "secret")
}

// An outbox that was closed says so, in pages and in answers.
func TestClosed(t *testing.T) {
	t.Parallel()
	p := newPlace(t, nil)
	p.put("refused")
	it := p.dead()[0]
	if err := p.b.Close(); err != nil {
		t.Fatal(err)
	}
	holds(t, p.get("?lane=track").Body.String(), "The outbox of this lane is closed.")
	holds(t, p.get("").Body.String(), "The lane needs you")
	w := p.post("?lane=track", fmt.Sprintf(`{"do":"drop","items":[%s]}`, ref(it)))
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"closed"`) {
		t.Error(w.Code, w.Body)
	}
}
