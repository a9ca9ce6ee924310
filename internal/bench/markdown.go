package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed8107221f/outbox/internal/bench/peers"
)

// report writes all tables as Markdown.
func report(out io.Writer, facts []string, versions []peerVersion, suites []suite, of scale, r results) error {
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "Measured by `go -C internal/bench run .` on: %s.\n", strings.Join(facts, "; "))
	fmt.Fprintln(w, "\nA figure is the median of the rounds, with the lowest and the highest behind it. *outbox is*: the figure of the outbox\ndivided by the figure of the row, in the same round: the median of these ratios, the lowest and the highest.\nRead the ratios: absolute figures are of this machine, in that hour.")
	writeTargets(w, r)
	for _, s := range suites {
		writeSuite(w, s, of, r)
	}
	writePeers(w, versions)
	return w.Flush()
}

func writeSuite(w io.Writer, s suite, of scale, r results) {
	var groups []string
	for _, x := range r {
		if x.Suite == s.name && !slices.Contains(groups, x.Group) {
			groups = append(groups, x.Group)
		}
	}
	if groups == nil {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n%s\n", s.title, s.intro)
	for _, group := range groups {
		if group != "" {
			fmt.Fprintf(w, "\n### %s\n", group)
		}
		writeGroup(w, s, group, of, r)
	}
}

func writeGroup(w io.Writer, s suite, group string, of scale, r results) {
	var names []string // in the order of the suite, which the rounds rotate
	for _, c := range s.cells(of) {
		if c.Group == group && slices.ContainsFunc(r, func(x sample) bool { return x.Suite == s.name && x.Group == group && x.Name == c.Name }) {
			names = append(names, c.Name)
		}
	}
	var columns []column // those that have something to show
	for _, c := range s.columns {
		if slices.ContainsFunc(names, func(name string) bool { return len(r.values(s.name, group, name, c.metric)) > 0 }) {
			columns = append(columns, c)
		}
	}
	head, rule := "| |", "|---|"
	for i, c := range columns {
		head, rule = head+" "+c.head+" |", rule+"--:|"
		if i == 0 && s.ratio != "" {
			head, rule = head+" outbox is |", rule+"--:|"
		}
	}
	fmt.Fprintf(w, "\n%s\n%s\n", head, rule)
	for _, name := range names {
		fmt.Fprintf(w, "| %s |", name)
		for i, c := range columns {
			fmt.Fprintf(w, " %s |", shown(r.values(s.name, group, name, c.metric), c.show, c.spread))
			if i == 0 && s.ratio != "" {
				cell := ""
				if name != peers.Outbox {
					cell = shown(r.ratios(s.name, group, peers.Outbox, name, s.ratio), times, true)
				}
				fmt.Fprintf(w, " %s |", cell)
			}
		}
		fmt.Fprintln(w)
	}
}

func times(x float64) string { return number(x) + "×" }

// shown is the median, with the lowest and the highest when asked for.
func shown(values []float64, show func(float64) string, spread bool) string {
	if len(values) == 0 {
		return "–"
	}
	text := show(median(values))
	if spread && len(values) > 1 {
		text += fmt.Sprintf(" (%s..%s)", show(slices.Min(values)), show(slices.Max(values)))
	}
	return text
}

func writePeers(w io.Writer, versions []peerVersion) {
	fmt.Fprint(w, "\n## The peers\n\n| | version | set up | drained means |\n|---|---|---|---|\n")
	for _, p := range versions {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", p.Name, p.version, p.Setup, p.Ack)
	}
}
