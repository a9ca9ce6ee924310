package monitor

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed8107221f/outbox/sender"
)

// A chart is the geometry of requests a second, for SVG: 0 is at y=100 and Top at y=20.
type chart struct {
	Width    int
	Area     string // d of a path
	Line     string
	Limit    bool // there is a line at Top, for the limit
	Shades   []shade
	Edges    []string // x where a hold began
	Held     bool     // which shades there are
	Throttle bool
	Paused   bool
	Top, Mid string // labels
	Times    []string
	Sentence string
	Minutes  []minute
	Now      string
	Allowed  string
}

// A shade is an episode.
type shade struct{ Class, X, W string }

// A minute is a line of the chart's table.
type minute struct {
	Start           moment
	Started, Failed uint32
}

const window15 = buckets * step

// newChart draws what was seen of a lane, in points of so many buckets each.
func newChart(d *summary, width, each int, now time.Time) chart {
	p := &d.past
	points := make([]float64, 0, buckets/each)
	highest := 0.0
	for i := 0; i+each <= buckets; i += each {
		sum := 0.0
		for _, n := range p.Started[i : i+each] {
			sum += float64(n)
		}
		points = append(points, sum/(step.Seconds()*float64(each)))
		highest = max(highest, points[len(points)-1])
	}
	allowed := d.Limit
	if allowed == 0 {
		allowed = d.Rate
	}
	top := allowed
	if top == 0 || highest > 1.25*top {
		top = roundUp(max(highest, 0.1))
	}
	c := chart{Width: width, Limit: allowed > 0 && top == allowed, Top: perSecond(top), Mid: perSecond(top / 2), Now: perSecond(p.rate)}
	if allowed > 0 {
		c.Allowed = perSecond(d.Rate)
	}
	var line strings.Builder
	for i, v := range points {
		letter := "L"
		if i == 0 {
			letter = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", letter, float64(i*width)/float64(len(points)-1), max(0, 100-80*v/top))
	}
	c.Line = line.String()
	c.Area = fmt.Sprintf("M0 100L%sL%d 100Z", c.Line[1:], width)
	c.shade(p, width, now)
	for i := range 4 {
		c.Times = append(c.Times, p.From.Add(window15*time.Duration(i)/3).Format("15:04"))
	}
	c.Sentence = c.sentence(d, now)
	return c
}

// shade adds the episodes that reach into the window.
func (c *chart) shade(p *past, width int, now time.Time) {
	at := func(t time.Time) float64 {
		return min(max(t.Sub(p.From).Seconds()/window15.Seconds(), 0), 1) * float64(width)
	}
	for _, e := range p.episodes {
		to := e.To
		if to.IsZero() {
			to = now.Add(step) // to the edge
		}
		x, end := at(e.From), at(to)
		if end <= x {
			continue
		}
		class := "shade"
		switch e.State {
		case sender.LaneThrottled:
			class, c.Throttle = "shadew", true
		case sender.LanePaused:
			class, c.Paused = "shadei", true
		default:
			c.Held = true
			if x > 0 {
				c.Edges = append(c.Edges, fmt.Sprintf("%.1f", x))
			}
		}
		c.Shades = append(c.Shades, shade{class, fmt.Sprintf("%.1f", x), fmt.Sprintf("%.1f", end-x)})
	}
}

// table adds the minutes, newest first, without those in front of the first request.
func (c *chart) table(p *past, now time.Time) {
	const each = int(time.Minute / step)
	for i := buckets - each; i >= 0; i -= each {
		m := minute{Start: at(p.From.Add(time.Duration(i)*step), now)}
		for k := i; k < i+each; k++ {
			m.Started += p.Started[k]
			m.Failed += p.Failed[k]
		}
		c.Minutes = append(c.Minutes, m)
	}
	for n := len(c.Minutes); n > 1 && c.Minutes[n-1].Started == 0 && c.Minutes[n-1].Failed == 0; n-- {
		c.Minutes = c.Minutes[:n-1]
	}
}

// sentence is what the chart shows, for those who do not see it.
func (c *chart) sentence(d *summary, now time.Time) string {
	most, sum := uint32(0), uint64(0)
	for _, n := range d.past.Started {
		most, sum = max(most, n), sum+uint64(n)
	}
	s := "Requests a second over the last 15 minutes: none"
	if sum > 0 {
		s = fmt.Sprintf("Requests a second over the last 15 minutes: %s in the mean, %s at most, %s now",
			perSecond(float64(sum)/window15.Seconds()), perSecond(float64(most)/step.Seconds()), c.Now)
	}
	if c.Allowed != "" {
		s += ", under a limit of " + c.Allowed
	}
	if n := len(d.past.episodes); n > 0 && d.past.episodes[n-1].To.IsZero() {
		e := d.past.episodes[n-1]
		s += "; " + string(e.State) + " since " + clock(e.From, now)
	}
	return s + "."
}

// roundUp returns the next of 1, 2, 5, 10, 20, …
func roundUp(f float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(f)))
	for _, n := range []float64{1, 2, 5} {
		if f <= n*unit {
			return n * unit
		}
	}
	return 10 * unit
}
