// Package life draws the life of an event.
package life

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed8107221f/outbox/sender"
)

var draw = flag.Bool("draw", false, "draw docs/life.svg again")

// A node is a state of an event, or one of the ends that the ledger counts.
type node struct {
	name string
	x, y int
	end  bool
}

// The states have the words of sender.State, the ends those of outbox.Stats.
var (
	put       = node{"Put", 60, 150, true}
	scheduled = node{string(sender.StateScheduled), 230, 50, false}
	ready     = node{string(sender.StateReady), 230, 150, false}
	inLine    = node{string(sender.StateInLine), 230, 250, false}
	inFlight  = node{string(sender.StateInFlight), 470, 150, false}
	retrying  = node{string(sender.StateRetrying), 470, 290, false}
	delivered = node{"delivered", 720, 50, true}
	expired   = node{"expired", 720, 150, true}
	dead      = node{string(sender.StateDead), 720, 290, false}
	dropped   = node{"dropped", 720, 410, true}
)

// A transition leads from a state to the next. Its verdict says what the queue records when a request
// has ended; "": no request has.
type transition struct {
	from, to node
	verdict  string
	why      string
	bend     int // of the line, to its left, in pixels
	dx, dy   int // of the text, from the middle of the line
}

var life = []transition{
	{put, scheduled, "", "NotBefore lies ahead", 0, -66, -4},
	{put, ready, "", "", 0, 0, 0},
	{put, inLine, "", "its key is busy", 0, -50, 8},
	{scheduled, ready, "", "its time comes", 0, 50, 4},
	{inLine, ready, "", "its turn", 0, 28, 4},
	{ready, inFlight, "", "a request starts", 14, 0, -8},
	{inFlight, ready, sender.Released.String(), "429, outage, shutdown", 14, 18, 18},
	{inFlight, delivered, sender.Delivered.String(), "2xx", 0, -40, -12},
	{inFlight, expired, sender.Expired.String(), "Expires has passed", 0, 8, -22},
	{inFlight, retrying, sender.Retry.String(), "it failed", -24, -46, 0},
	{retrying, inFlight, "", "its time comes", -24, 48, 18},
	{inFlight, dead, sender.Dead.String(), "refused, or failed 20 times", 0, 78, -20},
	{inFlight, dead, sender.Sending.String(), "AtMostOnce, until the answer", 0, 0, 0},
	{dead, ready, "", "Revive", 190, 0, -22},
	{dead, dropped, "", "Drop, Erase,\nKeepDead", 0, -44, 0},
}

// drawLife returns the picture, in colours that are readable on white and on black.
func drawLife() string {
	const gray, font = "#808890", `font-family="system-ui,sans-serif"`
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 450" role="img" aria-labelledby="t d">` + "\n")
	b.WriteString("<title id=\"t\">The life of an event</title>\n<desc id=\"d\">")
	for _, tr := range life {
		fmt.Fprintf(&b, "%s to %s%s. ", tr.from.name, tr.to.name, strings.ReplaceAll(label(tr, ": ", ", "), "\n", " "))
	}
	b.WriteString("Any pending state to dropped: Drop, Erase.</desc>\n")
	b.WriteString(`<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="` + gray + `"/></marker></defs>` + "\n")
	for _, tr := range life {
		if tr.verdict == sender.Sending.String() {
			continue // the line of Dead has it, and the text alternative says it
		}
		x1, y1, x2, y2 := edge(tr.from, tr.to)
		// The control point lies beside the middle, at a right angle to the line.
		dx, dy := x2-x1, y2-y1
		length := max(1, abs(dx)+abs(dy))
		cx, cy := (x1+x2)/2-2*tr.bend*-dy/length, (y1+y2)/2-2*tr.bend*dx/length
		fmt.Fprintf(&b, `<path d="M%d %dQ%d %d %d %d" fill="none" stroke="%s" stroke-width="1.5" marker-end="url(#a)"/>`+"\n", x1, y1, cx, cy, x2, y2, gray)
		mx, my := (x1+2*cx+x2)/4+tr.dx, (y1+2*cy+y2)/4+tr.dy
		for i, line := range strings.Split(label(tr, "", "\n"), "\n") {
			weight := ""
			if tr.verdict != "" && i == 0 {
				weight = ` font-weight="bold"`
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" fill="%s" %s font-size="12"%s>%s</text>`+"\n", mx, my+14*i, gray, font, weight, line)
		}
	}
	for _, n := range []node{put, scheduled, ready, inLine, inFlight, retrying, delivered, expired, dead, dropped} {
		fill := "#2f6fab"
		switch {
		case n == dead:
			fill = "#a8443f"
		case n.end:
			fill = "#5c6670"
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="%s"/>`+"\n", n.x-halfWidth, n.y-halfHeight, 2*halfWidth, 2*halfHeight, fill)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" fill="#ffffff" %s font-size="14">%s</text>`+"\n", n.x, n.y+5, font, n.name)
	}
	fmt.Fprintf(&b, `<text x="20" y="430" fill="%s" %s font-size="12">Bold: the verdict that is recorded. Drop and Erase also remove what is pending.</text>`+"\n</svg>\n", gray, font)
	return b.String()
}

// label joins the verdict and the reason of a transition.
func label(tr transition, before, between string) string {
	text := tr.why
	if tr.verdict != "" {
		text = tr.verdict + between + text
	}
	if text == "" {
		return ""
	}
	return before + text
}

const halfWidth, halfHeight = 46, 17

// edge returns where a line from the middle of one box to that of another leaves the first box and
// meets the second.
func edge(from, to node) (x1, y1, x2, y2 int) {
	dx, dy := to.x-from.x, to.y-from.y
	cut := func(n node, dx, dy int) (int, int) {
		if abs(dx)*halfHeight > abs(dy)*halfWidth { // it leaves at the side
			return n.x + sign(dx)*(halfWidth+3), n.y + dy*(halfWidth+3)/abs(dx)
		}
		return n.x + dx*(halfHeight+3)/abs(dy), n.y + sign(dy)*(halfHeight+3)
	}
	x1, y1 = cut(from, dx, dy)
	x2, y2 = cut(to, -dx, -dy)
	return x1, y1, x2, y2
}

func abs(n int) int { return max(n, -n) }

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// docs/life.svg is what the table of transitions draws, and the table has each state and each verdict.
// To draw it again: go test ./internal/life -draw
func TestLife(t *testing.T) {
	t.Parallel()
	has := make(map[string]bool)
	for _, tr := range life {
		has[tr.from.name], has[tr.to.name], has[tr.verdict] = true, true, true
	}
	for _, s := range []sender.State{sender.StateReady, sender.StateInLine, sender.StateInFlight, sender.StateRetrying, sender.StateScheduled, sender.StateDead} {
		if !has[string(s)] {
			t.Errorf("no transition has the state %q", s)
		}
	}
	for v := sender.Verdict(0); v.String() != "unknown"; v++ {
		if !has[v.String()] {
			t.Errorf("no transition has the verdict %q", v)
		}
	}
	file := filepath.Join("..", "..", "docs", "life.svg")
	if *draw {
		if err := os.WriteFile(file, []byte(drawLife()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != drawLife() {
		t.Errorf("docs/life.svg is not what the table draws (%v); draw it again with -draw", err)
	}
}
