package main

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

// The drawing, in pixels. Lines and text are of middling lightness, to be read on white and on
// black.
const (
	svgWidth, svgHeight        = 760, 440
	plotLeft, plotRight        = 70, 540 // names stand to the right
	plotTop, plotBottom        = 40, 390
	svgGrey                    = "#808890"
	lowestShown, highestShown  = 10.0, 1e6 // items a second
	fewestWriters, mostWriters = 1.0, 512.0
	labelHeight                = 15
	svgFont                    = `font-family="system-ui,sans-serif" font-size="12"`
)

// svgColours are told apart by those who see no red and green, too; outbox has the first.
var svgColours = []string{"#d9480f", "#808890", "#5f6b76", "#1c7ed6", "#4dabf7", "#0b7285", "#2b8a3e", "#74b816", "#9c36b5", "#c2729a", "#b08900"}

type curve struct {
	name   string
	colour string
	points [][2]float64 // writers, items a second
}

// curves are the medians of puts of 512 bytes without keys.
func curves(r results) []curve {
	var all []curve
	for i, p := range peers.All() {
		c := curve{name: p.Name, colour: svgColours[i%len(svgColours)]}
		for _, writers := range []int{1, 8, 64, 512} {
			if values := r.values(putSuite.name, writersGroup(writers, 512), p.Name, "rate"); len(values) > 0 {
				c.points = append(c.points, [2]float64{float64(writers), median(values)})
			}
		}
		if len(c.points) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// draw writes the throughput of Put over the number of writers, both on logarithmic scales.
func draw(w io.Writer, r results) error {
	x := func(writers float64) float64 {
		return plotLeft + (plotRight-plotLeft)*math.Log(writers/fewestWriters)/math.Log(mostWriters/fewestWriters)
	}
	y := func(rate float64) float64 {
		rate = min(max(rate, lowestShown), highestShown)
		return plotBottom - (plotBottom-plotTop)*math.Log(rate/lowestShown)/math.Log(highestShown/lowestShown)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Durable puts a second over the number of writers">`+"\n", svgWidth, svgHeight)
	text := func(x, y float64, anchor, colour, more, s string) {
		var escaped strings.Builder
		xml.EscapeText(&escaped, []byte(s)) // a Builder does not fail
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s" %s%s>%s</text>`+"\n", x, y, anchor, colour, svgFont, more, &escaped)
	}
	text(plotLeft, 22, "start", svgGrey, ` font-weight="bold"`, "Items of 512 bytes put and on disk, per second")
	for rate := lowestShown; rate <= highestShown; rate *= 10 {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="%s" stroke-opacity="0.3"/>`+"\n", plotLeft, y(rate), plotRight, svgGrey)
		text(plotLeft-8, y(rate)+4, "end", svgGrey, "", grouped(rate))
	}
	for _, writers := range []float64{1, 8, 64, 512} {
		text(x(writers), plotBottom+18, "middle", svgGrey, "", grouped(writers))
	}
	text((plotLeft+plotRight)/2, plotBottom+38, "middle", svgGrey, "", "writers")

	all := curves(r)
	for i, c := range slices.Backward(all) { // outbox on top
		var line []string
		for _, p := range c.points {
			line = append(line, fmt.Sprintf("%.1f,%.1f", x(p[0]), y(p[1])))
		}
		width := 1.5
		if c.name == peers.Outbox {
			width = 3.5
		}
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="%g" stroke-linejoin="round" points="%s"/>`+"\n", c.colour, width, strings.Join(line, " "))
		for _, p := range c.points {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%g" fill="%s"/>`+"\n", x(p[0]), y(p[1]), width+0.8, all[i].colour)
		}
	}
	for _, l := range labels(all, y) {
		bold := ""
		if l.name == peers.Outbox {
			bold = ` font-weight="bold"`
		}
		fmt.Fprintf(&b, `<path d="M%d %.1fL%d %.1f" stroke="%s" stroke-opacity="0.5"/>`+"\n", plotRight+6, l.end, plotRight+16, l.at, l.colour)
		text(plotRight+20, l.at+4, "start", l.colour, bold, l.name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// A label stands at the end of its curve, or as near as the others let it.
type label struct {
	curve
	end, at float64
}

func labels(all []curve, y func(float64) float64) []label {
	var ls []label
	for _, c := range all {
		end := y(c.points[len(c.points)-1][1])
		ls = append(ls, label{c, end, end})
	}
	slices.SortFunc(ls, func(a, b label) int { return cmp.Compare(a.end, b.end) })
	for i := 1; i < len(ls); i++ {
		ls[i].at = max(ls[i].at, ls[i-1].at+labelHeight)
	}
	for i, floor := len(ls)-1, float64(plotBottom); i >= 0; i, floor = i-1, floor-labelHeight {
		ls[i].at = min(ls[i].at, floor)
	}
	return ls
}
