package browsertest

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// mark makes it known whether a page is still the one that was loaded.
const mark = `window.mark = true`

// A page follows the lane without being loaded again. What somebody uses stays as it is.
func TestLive(t *testing.T) {
	p := newPlace(t, "track")
	page := newTab(t, true)
	page.to(p.query("lane=track"))
	eval[bool](page, mark)
	page.comes("Live")
	page.reads("Idle", "0 pending")

	p.answer("track", unauthorized)
	p.put("track", event(1, "one@example.com"), event(2, "two@example.com"))
	page.comes("Held")
	page.comes("2 pending")
	if said := eval[string](page, `document.getElementById("say").textContent`); said != "Held: the destination refuses our credentials" {
		t.Errorf("said %q", said)
	}

	// A table that is open, and a link that has the focus, are not replaced.
	page.press("As a table")
	eval[bool](page, `document.querySelector("#chart details").mark = true`)
	eval[bool](page, `document.querySelector("#counts a").focus(), document.querySelector("#counts a").mark = true`)
	p.answer("track", nil)
	page.comes("Idle")
	page.comes("Delivered 2")
	if !eval[bool](page, `document.querySelector("#chart details").mark === true && document.activeElement.mark === true`) {
		t.Error("what was used has been replaced")
	}
	eval[bool](page, `document.activeElement.blur(), true`)
	page.comes("0 pending")
	if !eval[bool](page, mark[:11]+" === true") {
		t.Error("the page was loaded again")
	}
	if errs := eval[int](page, `performance.getEntriesByType("resource").filter(r => r.responseStatus >= 400).length`); errs != 0 {
		t.Errorf("%d requests failed", errs)
	}
}

// The overview follows too, and says so when it cannot.
func TestLiveOverview(t *testing.T) {
	p := newPlace(t, "track", "messages")
	page := newTab(t, true)
	page.to(p.url)
	page.reads("All 2 lanes are well")
	page.comes("Live")
	p.answer("messages", slow)
	p.put("messages", event(1, "one@example.com"))
	page.comes("Throttled")
	p.answer("track", unauthorized)
	p.put("track", event(1, "one@example.com"))
	page.comes("1 of 2 lanes needs you")
	if first := eval[string](page, `document.querySelector(".lanes h2 a").textContent`); first != "track" {
		t.Errorf("the first is %q, want the worst", first)
	}
	p.m.Close()
	page.comes("Not live")
}

// A tab that nobody looks at holds no stream, and one that is left ends its own.
func TestStreamsEnd(t *testing.T) {
	p := newPlace(t, "track")
	var open atomic.Int64
	mux := http.NewServeMux()
	mux.Handle("/ops/outbox/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("live") {
			open.Add(1)
			defer open.Add(-1)
		}
		p.m.ServeHTTP(w, r)
	}))
	p.serve(mux)
	streams := func(want int64) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(patience); open.Load() != want; <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("%d streams are open, want %d", open.Load(), want)
			}
		}
	}
	page := newTab(t, true)
	page.to(p.url)
	streams(1)
	// What the browser tells a page of a tab that is covered.
	hidden := `Object.defineProperty(document, "hidden", {value: %s, configurable: true}), document.dispatchEvent(new Event("visibilitychange"))`
	eval[bool](page, fmt.Sprintf(hidden, "true"))
	streams(0)
	eval[bool](page, fmt.Sprintf(hidden, "false"))
	streams(1)
	page.follow("track")
	streams(1)
	page.do("go back", chromedp.NavigateBack())
	page.comes("Live")
	streams(1)
	page.do("leave", chromedp.Navigate("about:blank"))
	streams(0)
}

// Behind what cannot stream, the page asks again every few seconds.
func TestLiveWithoutStreams(t *testing.T) {
	p := newPlace(t, "track")
	p.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.m.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	}))
	page := newTab(t, true)
	page.to(p.query("lane=track"))
	eval[bool](page, mark)
	p.answer("track", unauthorized)
	p.put("track", event(1, "one@example.com"))
	p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld })
	page.comes("Held")
	page.comes("1 pending")
	if !eval[bool](page, mark[:11]+" === true") {
		t.Error("the page was loaded again")
	}
}

// Without a script a page renews itself when the reader asks for it, until the reader ends it.
func TestRenew(t *testing.T) {
	p := newPlace(t, "track")
	page := newTab(t, false)
	page.to(p.query("lane=track"))
	page.reads("Idle")
	page.load("renew", chromedp.Click(`//footer//a[starts-with(normalize-space(.), "Renew")]`, chromedp.NodeVisible))
	page.reads("Stop renewing this page")
	p.answer("track", unauthorized)
	p.put("track", event(1, "one@example.com"))
	p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld })
	page.load("be renewed")
	page.reads("Held", "1 pending")
	page.load("stop", chromedp.Click(`//footer//a[starts-with(normalize-space(.), "Stop")]`, chromedp.NodeVisible))
	if n := eval[int](page, `document.querySelectorAll("meta[http-equiv]").length`); n != 0 {
		t.Error("it goes on")
	}
}
