package browsertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/monitor"
	"github.com/seed8107221f/outbox/sender"
)

// busy has lanes in each of the states that need words, and events in each of theirs.
func busy(t *testing.T) *place {
	t.Helper()
	p := newPlace(t, "track", "messages", "newsletter", "billing", "archive")
	p.answer("track", strict)
	hostile := outbox.Event{Kind: `<script>alert(1)</script>`, Key: `"><img src=x onerror=alert(1)>` + "\x1b[31m\u202e", Payload: []byte(`{"email":"","note":"</textarea><script>alert(1)</script>"}`)}
	long := strings.Repeat("a-key-without-a-break", 12)
	p.put("track", event(1, ""), event(2, ""), outbox.Event{Kind: "identify", Key: long, Payload: []byte(`{"email":"","note":"` + strings.Repeat("x", 4000) + `"}`)}, hostile, event(4, "four@example.com"))
	p.until("track", func(s outbox.Stats) bool { return s.Dead == 4 && s.Pending == 0 })
	p.answer("track", func(_ http.ResponseWriter, body string) int {
		if strings.Contains(body, "late") {
			return 500
		}
		return 401
	})
	later := event(5, "later@example.com")
	later.NotBefore = time.Now().Add(90 * time.Minute)
	p.put("track", later, event(6, "late@example.com"))
	p.until("track", func(s outbox.Stats) bool { return s.Retrying == 1 })
	var many []outbox.Event
	for n := range 40 {
		many = append(many, event(7+n%3, "many@example.com"))
	}
	p.put("track", many...) // together, or those put while the lane is held are not yet seen to be in line
	p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld && s.InLine > 0 })

	p.answer("newsletter", slow)
	p.put("newsletter", event(1, "one@example.com"))
	p.until("newsletter", func(s outbox.Stats) bool { return s.State == sender.LaneThrottled })
	if err := p.lanes["billing"].Pause(t.Context(), sender.Pause{By: "oncall", Reason: "the nightly load goes first, see the plan of the month", Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	p.put("billing", event(1, "one@example.com"), event(2, "two@example.com"))
	p.answer("messages", func(http.ResponseWriter, string) int { return 503 })
	p.put("messages", event(1, "one@example.com"))
	p.until("messages", func(s outbox.Stats) bool { return s.Retrying+s.Pending > 0 })
	return p
}

// A view is a page that is looked at, and what is done on it first.
type view struct {
	name  string
	query string
	open  bool // all that can be opened
	steps []chromedp.Action[chromedp.Void]
	may   *monitor.Access
}

// views are all pages of a busy place.
func (p *place) views() []view {
	p.t.Helper()
	at := func(it sender.Item) string { return fmt.Sprintf("lane=track&item=%s&at=%d", it.ID, it.Seq) }
	dead := p.deadOf("track")
	first := map[sender.State]sender.Item{}
	for _, state := range []sender.State{sender.StateReady, sender.StateInLine, sender.StateRetrying, sender.StateScheduled} {
		found, err := p.lanes["track"].List(p.t.Context(), sender.Query{State: state})
		if err != nil || len(found.Items) == 0 {
			p.t.Fatalf("%s: %v, %v", state, found.Items, err)
		}
		first[state] = found.Items[0].Item
	}
	reader := monitor.Access{Name: "guest", Read: true}
	vs := []view{
		{name: "overview"},
		{name: "renewed", query: "renew=10"},
		{name: "done", query: "lane=track&did=revive&n=2&over=1"},
		{name: "done in part", query: "lane=track&list=dead&did=drop&n=1000&over=0&more=x"},
		{name: "pause refused", query: "lane=archive", steps: []chromedp.Action[chromedp.Void]{
			chromedp.Click(named("Pause…"), chromedp.NodeVisible), chromedp.SetValue(chromedp.CSS("#note"), strings.Repeat("ü", 200)), chromedp.Click(named("Pause this lane"), chromedp.NodeVisible)}},
		{name: "dead", query: at(dead[0])},
		{name: "dead with a long key", query: at(dead[2]), open: true},
		{name: "dead and hostile", query: at(dead[3]), open: true},
		{name: "dead of a reader", query: at(dead[0]), may: &reader},
		{name: "lane of a reader", query: "lane=track", may: &reader},
		{name: "no lane", query: "lane=none"},
		{name: "gone", query: "lane=track&item=0199d25f-03d8-7c11-9f42-5f0c2b7f9a10&at=999"},
		{name: "nothing found", query: "lane=track&list=dead&key=nobody"},
		{name: "found", query: "lane=track&list=dead&key=customer-*&newest=1"},
		{name: "ask", query: "lane=track&list=dead", steps: []chromedp.Action[chromedp.Void]{chromedp.Click(named("Revive all…"), chromedp.NodeVisible)}},
		{name: "nobody", may: &monitor.Access{}},
	}
	for _, lane := range []string{"track", "messages", "newsletter", "billing", "archive"} {
		vs = append(vs, view{name: "lane " + lane, query: "lane=" + lane}, view{name: "lane " + lane + " opened", query: "lane=" + lane, open: true})
	}
	for _, list := range []string{"ready", "in-flight", "in-line", "retrying", "scheduled", "dead"} {
		vs = append(vs, view{name: "list " + list, query: "lane=track&list=" + list})
	}
	for state, it := range first {
		vs = append(vs, view{name: "event " + string(state), query: at(it), open: true})
	}
	return vs
}

// look opens a view.
func (p *tab) look(v view, at *place) {
	p.t.Helper()
	at.allow(everything)
	if v.may != nil {
		at.allow(*v.may)
	}
	p.to(at.query(v.query))
	if len(v.steps) > 0 {
		p.load(v.name, v.steps...)
	}
	if v.open {
		eval[int](p, `document.querySelectorAll("details").forEach(d => { d.open = true }), 1`)
	}
}

// Every page can be used by everybody: the rules of axe find nothing, in both schemes, on a phone and
// on a desk. Nothing is wider than the page, at 320 pixels too, which is a desk at 400 %.
func TestPages(t *testing.T) {
	p := busy(t)
	page := newTab(t, true)
	for _, v := range p.views() {
		page.look(v, p)
		for _, width := range []int64{320, 360, 768, 1440} {
			page.view(width, "light")
			if wide := page.overflow(); wide != "" {
				t.Errorf("%s, %d pixels: %s", v.name, width, wide)
			}
			if n := eval[int](page, `document.querySelectorAll("h1").length + 100 * document.querySelectorAll("main img, main script, [style]").length`); n != 1 {
				t.Errorf("%s: %d headings, and what an event brought along", v.name, n)
			}
			broken := eval[[]string](page, `[...document.querySelectorAll("thead th")].filter(e => {
				const r = document.createRange();
				r.selectNodeContents(e);
				return !e.querySelector(".skip") && getComputedStyle(e.closest("thead")).position !== "absolute" && /^\S+$/.test(e.textContent) && new Set([...r.getClientRects()].map(b => b.top)).size > 1;
			}).map(e => e.textContent)`)
			if len(broken) > 0 {
				t.Errorf("%s, %d pixels: the words %q are broken", v.name, width, broken)
			}
			if width != 360 && width != 1440 {
				continue
			}
			for _, scheme := range []string{"light", "dark"} {
				page.view(width, scheme)
				for _, found := range page.axe() {
					if v.query == "renew=10" && strings.HasPrefix(found, "meta-refresh:") {
						continue // who asked for it can end it
					}
					t.Errorf("%s, %d pixels, %s: %s", v.name, width, scheme, found)
				}
				page.keep(fmt.Sprint(v.name, " ", width, " ", scheme))
			}
		}
	}
}

// overflow tells what is wider than the page.
func (p *tab) overflow() string {
	p.t.Helper()
	return eval[string](p, `(() => {
		const w = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= w) return "";
		return document.documentElement.scrollWidth + " > " + w + ": " + [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 0.5).map(e => e.outerHTML.slice(0, 120)).slice(0, 3).join(" | ");
	})()`)
}

// axe returns what the rules of accessibility find wrong.
func (p *tab) axe() []string {
	p.t.Helper()
	if eval[bool](p, `!window.axe`) {
		eval[bool](p, axe+";true")
	}
	result := eval[string](p, `axe.run(document, {rules: {"target-size": {enabled: true}}}).then(r => JSON.stringify(r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html.slice(0, 200) + " " + (n.any.concat(n.all, n.none)[0]||{message:""}).message).join(" | "))))`)
	var found []string
	p.check("axe", json.Unmarshal([]byte(result), &found))
	return found
}

// The tabulator key reaches all that can be pressed, once and in the order of the page, and what has
// the focus is seen.
func TestTabOrder(t *testing.T) {
	p := busy(t)
	page := newTab(t, false) // or a live page changes between the keys
	for _, width := range []int64{360, 1440} {
		page.view(width, "light")
		for _, v := range p.views() {
			if v.may != nil || v.query == "renew=10" {
				continue
			}
			page.look(v, p)
			want := eval[[]string](page, `(() => {
				window.tell = e => e.tagName + " " + (e.getAttribute("href") || e.name || e.id || "") + " " + (e.value || e.textContent || "").trim().slice(0, 40);
				return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")].filter(e => e.checkVisibility()).map(tell);
			})()`)
			var got []string
			for range len(want) + 1 {
				page.do("press Tab", chromedp.KeyEvent(kb.Tab))
				at := eval[[]string](page, `(() => {
					const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
					if (e === document.body) return ["end", ""];
					let wrong = "";
					if (s.outlineStyle === "none" || parseFloat(s.outlineWidth) < 2) wrong = "its focus is not seen";
					if (b.width < 1 || b.bottom < 0 || b.top > innerHeight || b.right < 0 || b.left > innerWidth) wrong = "it is out of sight";
					return [tell(e), wrong];
				})()`)
				if at[0] == "end" {
					break
				}
				if got = append(got, at[0]); at[1] != "" {
					t.Errorf("%s, %d pixels: %s: %s", v.name, width, at[0], at[1])
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d pixels: got\n%s\nwant\n%s", v.name, width, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if len(want) == 0 || !strings.Contains(want[0], "#main") {
				t.Errorf("%s: the first is %q, want the skip link", v.name, want)
			}
		}
	}
}

// What a person does with a mouse can be done with keys.
func TestKeyboard(t *testing.T) {
	p := newPlace(t, "track")
	p.answer("track", strict)
	p.put("track", event(1, ""), event(2, ""))
	p.until("track", func(s outbox.Stats) bool { return s.Dead == 2 })
	page := newTab(t, true)
	focus := func(text string) {
		t.Helper()
		for range 60 {
			page.do("press Tab", chromedp.KeyEvent(kb.Tab))
			if eval[string](page, `document.activeElement.textContent.trim()`) == text {
				return
			}
		}
		t.Fatalf("%q is not reached", text)
	}
	it := p.deadOf("track")[0]
	page.to(p.query(fmt.Sprintf("lane=track&item=%s&at=%d", it.ID, it.Seq)))
	focus("Drop…")
	page.do("open", chromedp.KeyEvent(kb.Enter))
	focus("Drop this event")
	page.load("drop", chromedp.KeyEvent(kb.Enter))
	page.reads("1 event was dropped.")

	page.to(p.query("lane=track"))
	focus("Pause…")
	page.do("open", chromedp.KeyEvent(" "), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.ArrowDown), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("the plan"))
	page.load("pause", chromedp.KeyEvent(kb.Enter))
	page.reads("The lane is paused.", "Paused by oncall: the plan")
	if s := p.lanes["track"].Stats(); s.OperatorPause.Reason != "the plan" || s.OperatorPause.Until.IsZero() {
		t.Errorf("%+v", s.OperatorPause)
	}
	focus("Resume")
	page.load("resume", chromedp.KeyEvent(kb.Enter))
	page.reads("The lane is resumed.", "Idle")
}

// Many are chosen, and dropped only after a page that says so.
func TestDropChosen(t *testing.T) {
	p := newPlace(t, "track")
	p.answer("track", strict)
	p.put("track", event(1, ""), event(2, ""), event(3, ""))
	p.until("track", func(s outbox.Stats) bool { return s.Dead == 3 })
	page := newTab(t, false)
	page.to(p.query("lane=track"))
	for _, n := range []int{1, 3} {
		page.do("choose", chromedp.Click(chromedp.CSS(fmt.Sprintf("#list tbody tr:nth-child(%d) input", n)), chromedp.NodeVisible))
	}
	page.follow("Drop chosen…")
	page.reads("Drop 2 events of track?", "cannot be undone")
	page.follow("Leave it")
	if got := len(p.deadOf("track")); got != 3 {
		t.Fatalf("%d are dead after all were left", got)
	}
	for _, n := range []int{1, 3} {
		page.do("choose", chromedp.Click(chromedp.CSS(fmt.Sprintf("#list tbody tr:nth-child(%d) input", n)), chromedp.NodeVisible))
	}
	page.follow("Drop chosen…")
	page.follow("Drop 2 events")
	page.reads("2 events were dropped.")
	left := p.deadOf("track")
	if len(left) != 1 || left[0].Key != "customer-2" {
		t.Errorf("left: %v", left)
	}
}

// A tab finds what is planted: a page that violates its policy, and one that cannot be used.
func TestTabFindsFaults(t *testing.T) {
	p := newPlace(t, "track")
	mux := http.NewServeMux()
	mux.Handle("/ops/outbox/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'")
		fmt.Fprint(w, `<!doctype html><title>x</title><p style="margin:1px"><font color="#999">grey</font><input><img src="x.png"><script>1</script>`)
	}))
	p.serve(mux)
	for _, script := range []bool{true, false} {
		page := newRawTab(t)
		page.to(p.url)
		if got := page.violated(); len(got) < 3 {
			t.Errorf("violated: %q, want style, image and script", got)
		}
		if !script {
			continue
		}
		found := strings.Join(page.axe(), "\n")
		for _, rule := range []string{"color-contrast", "label", "image-alt", "html-has-lang"} {
			if !strings.Contains(found, rule+":") {
				t.Errorf("no %s in: %s", rule, found)
			}
		}
	}
}
