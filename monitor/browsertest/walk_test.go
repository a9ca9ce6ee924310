package browsertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// A person finds out by the pages alone why a lane does not work, and fixes what the repair leaves.
func TestWalk(t *testing.T) {
	for name, script := range map[string]bool{"with script": true, "without script": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "track")
			page := newTab(t, script)

			// Three events are bad, and then the credentials are.
			p.answer("track", strict)
			p.put("track", event(1, "one@example.com"), event(2, ""), event(3, ""), event(4, ""))
			p.until("track", func(s outbox.Stats) bool { return s.Dead == 3 && s.Pending == 0 })
			p.answer("track", unauthorized)
			for n := range 10 {
				p.put("track", event(10+n, "many@example.com"))
			}
			p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld })

			page.to(p.url)
			page.reads("The lane needs you", "track", "Held", "401 Unauthorized")
			page.follow("track")
			page.reads("Held", "credentials", "401 Unauthorized", "10 pending")
			page.keep("held")

			// The repair is seen, with script without loading the page again.
			p.answer("track", strict)
			if script {
				page.comes("Idle")
			} else {
				p.until("track", func(s outbox.Stats) bool { return s.Pending == 0 })
				page.load("reload", chromedp.Reload())
			}
			page.reads("Idle", "0 pending")

			// One event is edited.
			bad := p.deadOf("track")
			page.load("open the first", chromedp.Click(chromedp.CSS(fmt.Sprintf(`#list a[href*="item=%s"]`, bad[0].ID)), chromedp.NodeVisible))
			page.reads("Dead", "400 Bad Request", "customer-2", `"email": ""`)
			page.keep("dead")
			page.do("edit", chromedp.SetValue(chromedp.CSS("#p"), `{"customer":2,"email":"two@example.com"}`))
			page.follow("Save and revive")
			page.reads("The event was edited and revived.")

			// The others are revived together, once the destination takes them.
			p.answer("track", nil)
			page.to(p.query("lane=track&list=dead"))
			page.follow("Revive all…")
			page.reads("2 events")
			page.keep("ask")
			if got := len(p.deadOf("track")); got != 2 {
				t.Fatalf("%d are dead before it was confirmed", got)
			}
			page.follow("Revive 2 events")
			page.reads("2 events were revived.")

			p.settled("track", 14)
			page.to(p.query("lane=track"))
			page.reads("0 pending", "14", "Idle")
			page.keep("mended")
			for n := range 3 {
				if want := fmt.Sprintf(`{"customer":%d,`, n+2); !strings.Contains(p.accepted(), want) {
					t.Errorf("the destination did not take %s", want)
				}
			}
			if !strings.Contains(p.accepted(), `{"customer":2,"email":"two@example.com"}`) {
				t.Errorf("what was edited did not arrive: %s", p.accepted())
			}
		})
	}
}
