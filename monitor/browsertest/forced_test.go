package browsertest

import (
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/seed8107221f/outbox"
	"github.com/seed8107221f/outbox/sender"
)

// Where the system forces its colours, the swatches beside the counts and the chart are still seen, and
// differ as they do elsewhere.
func TestForcedColours(t *testing.T) {
	p := newPlace(t, "track")
	p.answer("track", unauthorized)
	p.put("track", event(1, "one@example.com"), event(2, "two@example.com"))
	p.until("track", func(s outbox.Stats) bool { return s.State == sender.LaneHeld })
	page := newTab(t, true)
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(page.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "forced-colors", Value: "active"}, {Name: "prefers-color-scheme", Value: scheme}}})
		page.check("force colours", err)
		page.to(p.query("lane=track"))
		if !eval[bool](page, `matchMedia("(forced-colors:active)").matches`) {
			t.Fatal("no colours are forced")
		}
		if n := eval[int](page, `new Set([...document.querySelectorAll(".counts .sw")].map(e => getComputedStyle(e).backgroundColor)).size`); n != 6 {
			t.Errorf("%s: the 6 swatches have %d colours", scheme, n)
		}
		if light := eval[string](page, `getComputedStyle(document.getElementById("live"), "::before").backgroundColor`); light == eval[string](page, `getComputedStyle(document.querySelector("header")).backgroundColor`) {
			t.Errorf("%s: the light has the colour of what is behind it, %s", scheme, light)
		}
		page.do("see the legend", chromedp.WaitVisible(chromedp.CSS(".key svg rect.shade")))
		if n := eval[int](page, `[...document.querySelectorAll(".counts .sw, .key svg rect")].filter(e => { const s = getComputedStyle(e); return s.borderTopWidth === "0px" && s.stroke === "none" }).length`); n != 0 {
			t.Errorf("%s: %d swatches have no edge", scheme, n)
		}
	}
}
